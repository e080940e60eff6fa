"""What commands say, whoever reads it: a terminal, a pipe, or a program that wants JSON."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Protocol, Self

from jobhall.model import Job, JobEvent
from jobhall.worker_info import WorkerInfo


class Follower(Protocol):
    """Shows jobs while they run; used in `with`."""

    def show(self, job: Job) -> None:
        """A job as it now is, briefly or whole."""

    def tell(self, event: JobEvent) -> None:
        """Something happened to a job."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_error: object) -> None: ...


class Output(Protocol):
    """One way to say it; a job that is passed here is a whole one unless it says so."""

    def submitted(self, job: Job) -> None:
        """A job was submitted and nobody waits for it."""

    def job(self, job: Job) -> None:
        """All there is to say about one job."""

    def listing(self, jobs: Iterable[Job]) -> None:
        """Jobs of a list, briefly, one by one as they come."""

    def changed(self, it: Job | WorkerInfo, *, verb: str) -> None:
        """A job was cancelled, retried or deleted, or a worker sent away; `verb` is that word."""

    def worker(self, worker: WorkerInfo) -> None:
        """All there is to say about one worker."""

    def workers(self, workers: Iterable[WorkerInfo]) -> None:
        """Workers of a list, one by one as they come."""

    def follow(self, *, named: bool) -> Follower:
        """To show jobs while they run: those that were named, or all that match something."""

    def ended(self, job: Job) -> None:
        """A job that was followed by name has ended."""


def choose_output(*, as_json: bool) -> Output:
    """JSON if asked for; tables and bars for a terminal that can redraw; else plain lines."""
    if as_json:
        from jobhall.cli.documents import Documents

        return Documents()
    if sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
        from jobhall.cli.screen import Screen

        return Screen()
    from jobhall.cli.lines import Lines

    return Lines()
