"""A worker that makes a dataset of each uploaded CSV file."""

from __future__ import annotations

import csv
import os
import time
from pathlib import Path
from typing import Any

import jobhall

PACE_SECONDS = float(os.environ.get("PACE_MS", "0")) / 1000
"""Stands for the work that a larger file would be."""

worker = jobhall.Worker(name=os.environ.get("WORKER_NAME"), concurrency=1)


@worker.handler("file_upload")
def upload(task: jobhall.Task) -> dict[str, Any]:
    """Counts the rows; a file that is not there, or is no table, is not tried again."""
    file = Path(task.parameters["file"])
    time.sleep(PACE_SECONDS)
    try:
        with file.open(newline="", encoding="utf-8") as text:
            header, *rows = csv.reader(text, strict=True)
    except FileNotFoundError as error:
        raise jobhall.TaskFailed(
            f"there is no file {file}", code="FILE_NOT_FOUND", retryable=False, details={"file": str(file)}
        ) from error
    except (ValueError, csv.Error) as error:
        raise jobhall.TaskFailed(
            f"{file} is no table: {error}", code="FILE_INVALID", retryable=False, details={"file": str(file)}
        ) from error
    return {"ds_id": file.stem, "file_id": file.name, "columns": len(header), "rows": len(rows)}
