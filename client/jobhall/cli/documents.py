"""Output for programs: one JSON document a line."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self

from jobhall.cli.plain_values import json_line
from jobhall.model import Job, JobEvent
from jobhall.worker_info import WorkerInfo


class Documents:
    """Each job or worker an object; a watch gives `{"event": …}` and `{"job": …}`, so that they can be told apart."""

    def submitted(self, job: Job) -> None:
        _write(job)

    def job(self, job: Job) -> None:
        _write(job)

    def listing(self, jobs: Iterable[Job]) -> None:
        for job in jobs:
            _write(job)

    def changed(self, it: Job | WorkerInfo, *, verb: str) -> None:  # noqa: ARG002 - its state says it
        _write(it)

    def worker(self, worker: WorkerInfo) -> None:
        _write(worker)

    def workers(self, workers: Iterable[WorkerInfo]) -> None:
        for worker in workers:
            _write(worker)

    def follow(self, *, named: bool) -> EventDocuments:  # noqa: ARG002 - the same for both
        return EventDocuments()

    def ended(self, job: Job) -> None:
        """Says nothing: the follower showed the whole job last."""


class EventDocuments:
    """A line for each event."""

    def show(self, job: Job) -> None:
        _write({"job": job})

    def tell(self, event: JobEvent) -> None:
        _write({"event": event})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        return None


def _write(value: Any) -> None:
    print(json_line(value), flush=True)
