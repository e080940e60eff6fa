"""The part of the lifecycle model that callers see: what submits, updates, cancels, retries and deletes do."""

from __future__ import annotations

from jobhall.states import TERMINAL_STATES, AttemptOutcome, EventType, FailureKind, JobState, UniquePolicy
from jobhall_server.domain.moves import JobUpdate
from tests.support.lifecycle.job import ModelJob
from tests.support.lifecycle.words import Answer

S = JobState
E = EventType


class Jobs:
    """All jobs, as clients change them."""

    def __init__(self) -> None:
        self.jobs: dict[str, ModelJob] = {}
        self.deleted: list[ModelJob] = []
        self.keys: dict[int, ModelJob] = {}
        self.submitted = 0
        self.active = True
        """Whether the batch is."""
        self.purged: list[ModelJob] = []
        self.holders: dict[tuple[int, str], ModelJob] = {}
        """By queue and unique key."""

    def submit(self, job: ModelJob, now: int, policy: UniquePolicy = UniquePolicy.REJECT) -> Answer:
        known = self.jobs.get(job.job_id)
        if known is not None:
            return Answer.OK if known.content == job.content else Answer.JOB_ID_REUSED
        holder = self._holder(job)
        if holder is not None and policy is UniquePolicy.RETURN_EXISTING:
            return Answer.OK
        if holder is not None:
            if policy is UniquePolicy.REJECT or holder.state not in (S.SCHEDULED, S.PENDING):
                return Answer.UNIQUE_KEY_TAKEN
            _ = self.delete(holder.job_id)
        if job.unique is not None:
            self.holders[job.queue, job.unique] = job
        self.submitted += 1
        job.order = self.submitted
        self.jobs[job.job_id] = job
        job.held_back = job.member and not self.active
        job.enter(now)
        return Answer.OK

    def bring_in(self, job: ModelJob) -> Answer:
        """From elsewhere, as it was there; one that has ended holds no key."""
        if job.unique is not None and job.state not in TERMINAL_STATES:
            if self._holder(job) is not None:
                return Answer.UNIQUE_KEY_TAKEN
            self.holders[job.queue, job.unique] = job
        self.submitted += 1
        job.order = self.submitted
        self.jobs[job.job_id] = job
        job.held_back = job.member and not self.active
        return Answer.OK

    def _holder(self, job: ModelJob) -> ModelJob | None:
        """The other job that has its unique key: one that has not ended, since no window is asked for here."""
        holder = self.holders.get((job.queue, job.unique or ""))
        # Another job may have the id of one that was deleted.
        if holder is None or holder is job or self.jobs.get(holder.job_id) is not holder:
            return None
        return None if holder.state in TERMINAL_STATES else holder

    def update(self, job_id: str, update: JobUpdate, now: int) -> Answer:
        """Its turn, while it waits for it; its labels at any time."""
        job = self.jobs.get(job_id)
        if job is None:
            return Answer.JOB_NOT_FOUND
        turn = update.columns - {"labels"}
        if turn and job.state in TERMINAL_STATES:
            return Answer.JOB_TERMINAL
        if turn and job.held:
            return Answer.JOB_RUNNING
        if job.attempt == 0 and self._never_in_time(job, update):
            return Answer.FIELD_INVALID
        for name in update.columns:
            setattr(job, name, getattr(update, name))
        if update.columns != {"schedule_at"} or not self._rescheduled(job, now, moves=False):
            job.tell(E.UPDATED)
        if "schedule_at" in update.columns:
            _ = self._rescheduled(job, now, moves=True)
        elif turn:
            job.due_at = job.waits_until(job.due_at if job.state is S.SCHEDULED else None)
        return Answer.OK

    def _never_in_time(self, job: ModelJob, update: JobUpdate) -> bool:
        """Whether it could not begin any more, by the times that it would have."""
        deadline = update.start_deadline if "start_deadline" in update.columns else job.start_deadline
        at = job.due_at if job.state is S.SCHEDULED and job.due_at != job.start_deadline else None
        if "schedule_at" in update.columns:
            at = update.schedule_at
        return at is not None and deadline is not None and at >= deadline

    def _rescheduled(self, job: ModelJob, now: int, *, moves: bool) -> bool:
        """Whether its new schedule leads it elsewhere; with `moves` it goes there."""
        later = job.schedule_at is not None and job.schedule_at > now
        elsewhere = job.state is not (S.SCHEDULED if later else S.PENDING)
        if moves and elsewhere:
            job.state, job.ready_at = (S.SCHEDULED, job.ready_at) if later else (S.PENDING, now)
            job.tell(E.SCHEDULED if later else E.READY)
        if moves:
            job.due_at = job.waits_until(job.schedule_at if later else None)
        return elsewhere

    def cancel(self, job_id: str, *, stop_at: int) -> Answer:
        job = self.jobs.get(job_id)
        if job is None:
            return Answer.JOB_NOT_FOUND
        if job.state in (S.COMPLETED, S.FAILED):
            return Answer.JOB_TERMINAL
        if job.state is S.RUNNING:
            job.state, job.due_at = S.CANCELLING, stop_at
            job.tell(E.CANCELLING)
        elif job.state not in (S.CANCELLING, S.CANCELLED):
            job.end(S.CANCELLED)
        return Answer.OK

    def retry(self, job_id: str, now: int) -> Answer:
        """As if it were new, but for its fence, its history, what it has on record and where it had come."""
        job = self.jobs.get(job_id)
        if job is None:
            return Answer.JOB_NOT_FOUND
        if job.state is S.COMPLETED:
            return Answer.JOB_TERMINAL
        if job.state in (S.FAILED, S.CANCELLED):
            if self._holder(job) is not None:
                return Answer.UNIQUE_KEY_TAKEN
            if job.unique is not None:
                self.holders[job.queue, job.unique] = job
            if job.started_at is not None:
                _ = job.history.setdefault(job.fence, (job.attempt, AttemptOutcome[job.state.name]))
            job.start_deadline = None
            job.state, job.ready_at, job.failure, job.started_at = S.PENDING, now, FailureKind.UNSPECIFIED, None
            job.attempt = job.losses = job.releases = job.item_errors = 0
            job.excluded = False
            job.tell(E.RETRIED)
        return Answer.OK

    def delete(self, job_id: str) -> Answer:
        job = self.jobs.get(job_id)
        if job is None:
            return Answer.JOB_NOT_FOUND
        if job.held:
            return Answer.JOB_RUNNING
        job.tell(E.DELETED)
        self.deleted.append(self.jobs.pop(job_id))
        self.keys = {key: known for key, known in self.keys.items() if known is not job}
        return Answer.OK

    def purge(self, ended_by: int) -> list[str]:
        """What has ended by then is removed; its batch goes on counting it. Answers the ids."""
        over = [job for job in self.jobs.values() if job.state in TERMINAL_STATES]
        old = [job for job in over if job.started_at is None or job.started_at <= ended_by]
        for job in old:
            _ = self.delete(job.job_id)
        self.purged += old
        return [job.job_id for job in old]

    def counts(self, *, of_batch: bool) -> dict[JobState, int]:
        """Jobs by state, of the batch or of all."""
        counted = self._members() if of_batch else [*self.jobs.values()]
        return {state: sum(1 for job in counted if job.state is state) for state in JobState if state}

    def items_of_batch(self) -> int:
        """What each of its jobs said last of how many items it has, summed up."""
        return sum(job.items[max(job.items)] for job in self._members() if job.items)

    def _members(self) -> list[ModelJob]:
        """Of the batch; what was purged is counted still."""
        return [job for job in (*self.jobs.values(), *self.purged) if job.member]
