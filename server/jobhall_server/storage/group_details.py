"""What a commit group keeps beside a job: payloads, progress, errors, logs."""

from __future__ import annotations

from collections.abc import Sequence

from jobhall_server.domain.job import ItemError, JobFailure, Payload
from jobhall_server.domain.progress import Progress
from jobhall_server.hall.views import LogLine, PayloadKind
from jobhall_server.storage import statements_jobs
from jobhall_server.storage.codec import progress_of, progress_text
from jobhall_server.storage.group_jobs import Jobs


class Details(Jobs):
    """The part of a group that knows what goes with its jobs."""

    def save_payload(self, job_key: int, kind: PayloadKind, payload: Payload) -> None:
        self._staged.put(self._staged.payloads[kind], job_key, payload)

    def save_checkpoint(self, job_key: int, state: Payload, progress: Progress | None) -> None:
        self.save_payload(job_key, PayloadKind.CHECKPOINT, state)
        told = None if progress is None else progress_text(progress)
        self._staged.put(self._staged.checkpoint_progress, job_key, told)

    def save_failure(self, job_key: int, failure: JobFailure) -> None:
        job = self._jobs.get(job_key)
        self._staged.put(self._staged.failures, (job_key, 0 if job is None else job.fence), failure)

    def save_progress(self, job_key: int, fence: int, progress: Progress) -> None:
        self._staged.put(self._staged.progress, (job_key, fence), progress_text(progress))

    def progress(self, job_key: int, fence: int) -> Progress | None:
        told = self._staged.progress.get((job_key, fence))
        if told is None:
            statement = statements_jobs.saved_progress(self._execution.tables)
            told = self._execution.scalar(statement, job_key=job_key, fence=fence)
        return None if told is None else progress_of(told)

    def add_item_errors(self, job_key: int, fence: int, first_number: int, errors: Sequence[ItemError]) -> None:
        for number, error in enumerate(errors, first_number):
            self._staged.put_new(self._staged.item_errors, (job_key, fence, number), error)

    def add_logs(self, job_key: int, fence: int, first_number: int, lines: Sequence[LogLine]) -> None:
        for number, line in enumerate(lines, first_number):
            self._staged.put_new(self._staged.logs, (job_key, fence, number), line)

    def drop_logs(self, job_key: int, fence: int, through_number: int) -> None:
        known = self._staged.log_drops.get((job_key, fence), 0)
        self._staged.put(self._staged.log_drops, (job_key, fence), max(known, through_number))
