"""Output for pipes and logs: a line per job or event, whole however long, at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Self

from jobhall.cli.phrases import event_text, job_rows, list_cells, outcome_text, worker_cells, worker_rows
from jobhall.cli.plain_values import moment
from jobhall.model import Job, JobEvent
from jobhall.states import EventType
from jobhall.worker_info import WorkerInfo

_PROGRESS_SECONDS = 1.0


class Lines:
    """A submitted job is its id alone, a list has tabs between its columns: made for `$(…)` and `cut`."""

    def submitted(self, job: Job) -> None:
        _write(job.id)

    def job(self, job: Job) -> None:
        for name, value in job_rows(job):
            _write(f"{name}: {value}")
        for error in job.item_errors:
            _write(f"item error: {error.index} {error.key} {error.code} {error.message}")
        if job.error is not None and job.error.stack:
            print(job.error.stack.rstrip(), flush=True)

    def listing(self, jobs: Iterable[Job]) -> None:
        for job in jobs:
            _write("\t".join([*list_cells(job), moment(job.created_at) if job.created_at else ""]))

    def changed(self, it: Job | WorkerInfo, *, verb: str) -> None:
        _write(f"{verb} {it.id} {it.state.name}")

    def worker(self, worker: WorkerInfo) -> None:
        for name, value in worker_rows(worker):
            _write(f"{name}: {value}")

    def workers(self, workers: Iterable[WorkerInfo]) -> None:
        for worker in workers:
            seen = moment(worker.last_seen_at) if worker.last_seen_at else ""
            _write("\t".join([*worker_cells(worker), seen]))

    def follow(self, *, named: bool) -> EventLines:  # noqa: ARG002 - the same for both
        return EventLines()

    def ended(self, job: Job) -> None:
        _write(f"{job.state.name} {job.id} {job.job_type} {outcome_text(job)}".rstrip())


class EventLines:
    """A line for each event, `TIME EVENT JOB_ID TYPE …`; of progress at most one a second and job."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next_at: dict[str, float] = {}

    def show(self, job: Job) -> None:
        """Says nothing: the first line about a job is the first thing that happens to it."""

    def tell(self, event: JobEvent) -> None:
        now = self._clock()
        if event.event_type is EventType.PROGRESS:
            if now < self._next_at.get(event.job_id, now):
                return
            self._next_at[event.job_id] = now + _PROGRESS_SECONDS
        elif event.state.terminal:
            self._next_at.pop(event.job_id, None)
        at = event.happened_at or (event.progress and event.progress.updated_at)
        words = (moment(at) if at else "-", event.event_type.name, event.job_id, event.job_type, event_text(event))
        _write(" ".join(words).rstrip())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        return None


def _write(line: str) -> None:
    print(" ".join(line.splitlines()), flush=True)
