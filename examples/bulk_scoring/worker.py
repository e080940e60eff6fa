"""A worker that scores the companies of a CSV file: one job is one file, its items are the rows."""

from __future__ import annotations

import csv
import glob
import os
import time
from collections.abc import Iterator
from pathlib import Path

import jobhall
from scoring import COLUMNS, RowError, parse_company, score_company

RESULT_COLUMNS = ("row", "symbol", "name", "sector", "period", "variant", "score", "zone", "default_probability")

worker = jobhall.Worker(name=os.environ.get("WORKER_NAME", f"scoring-{os.getpid()}"), concurrency=1)


@worker.handler("score_companies")
def score_companies(task: jobhall.Task) -> dict[str, object]:
    """Score every row of `input` into `output`, at `pace_ms` a row: the pace stands for the call of a model.

    An attempt starts anew. It writes to a file of its own, which takes the place of `output` only when it is whole.
    """
    source, results = Path(task.parameters["input"]), Path(task.parameters["output"])
    pace_seconds = task.parameters.get("pace_ms", 0) / 1000
    total = sum(1 for _ in _read_rows(source))
    task.log(f"attempt {task.attempt}: {total} rows of {source.name}", level="info")

    scored = failed = 0
    partial = _partial(results, task.fence)
    with partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(RESULT_COLUMNS)
        for number, cells in enumerate(_read_rows(source), start=1):
            time.sleep(pace_seconds)
            try:
                writer.writerow(_score_row(number, cells))
                scored += 1
            except RowError as error:
                task.item_error(index=number, key=cells[0], code=error.code, message=error.message)
                failed += 1
            task.progress(total=total, processed=number, succeeded=scored, failed=failed, unit="rows")
        file.flush()
        os.fsync(file.fileno())
    partial.replace(results)
    _remove_older_partials(results, task.fence)
    return {"rows": total, "scored": scored, "failed": failed, "results": str(results)}


def _read_rows(source: Path) -> Iterator[list[str]]:
    """Every line after the header; blank ones are none. A file with other columns is refused whole."""
    # One mangled byte in a name should cost that name a letter, not the whole file its scores.
    with source.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        reader = csv.reader(file)
        header = next(reader, [])
        if tuple(header) != COLUMNS:
            raise ValueError(f"{source.name} has the columns {header}, not {list(COLUMNS)}")
        yield from (cells for cells in reader if cells)


def _score_row(number: int, cells: list[str]) -> tuple[object, ...]:
    company = parse_company(cells)
    score = score_company(company)
    return (
        number,
        company.symbol,
        company.name,
        company.sector,
        company.period,
        score.variant,
        f"{score.value:.3f}",
        score.zone,
        f"{score.default_probability:.6f}",
    )


def _partial(results: Path, fence: int) -> Path:
    """The fence is in the name: a worker that only seemed dead never writes into its successor's file."""
    return results.with_name(f".{results.name}.{fence}.part")


def _remove_older_partials(results: Path, fence: int) -> None:
    """What killed workers left; one that still runs finds its file gone, and cannot put it in place of ours."""
    for leftover in results.parent.glob(f".{glob.escape(results.name)}.*.part"):
        if int(leftover.name.split(".")[-2]) < fence:
            leftover.unlink(missing_ok=True)


if __name__ == "__main__":
    worker.run()
