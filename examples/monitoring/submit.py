"""Uploads files, tells how that goes, and what came of each: `python -m examples.monitoring.submit FILE...`."""

from __future__ import annotations

import sys

import jobhall
from examples.monitoring.analysis import analysis
from examples.monitoring.monitor import monitor

PATH = "/workspaces/1/projects/1/files"
INTERRUPTED = 130


def main(files: list[str]) -> int:
    with jobhall.Client() as client:
        job_ids = start(client, files)
        try:
            jobs = monitor(client, job_ids)
        except KeyboardInterrupt:
            print("\nInterrupted; the jobs go on.")
            return INTERRUPTED
    for job in jobs:
        print()
        print("\n".join(analysis(job)))
    return 0 if len(jobs) == len(files) and all(job.succeeded for job in jobs) else 1


def start(client: jobhall.Client, files: list[str]) -> list[str]:
    """The ids of the uploads; one that is refused does not keep the others."""
    answers = [client.jobs.try_submit("file_upload", {"file": file}, path=PATH) for file in files]
    for file, answer in zip(files, answers, strict=True):
        if answer.failure_reason:
            print(f"✗ {file}: {answer.failure_reason} ({answer.status_code})")
    return [answer.job_id for answer in answers if answer.job_id]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
