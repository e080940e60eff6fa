"""The part of the lifecycle machine in which clients submit, change and remove jobs, one by one and by the batch."""

from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import rule

from jobhall.errors import ApiError
from jobhall.states import HELD_STATES, JobState, UniquePolicy
from jobhall_server.domain.access import ANYBODY
from jobhall_server.domain.batch import BatchRecord
from jobhall_server.domain.job import NewJob
from jobhall_server.domain.moves import JobUpdate
from jobhall_server.domain.rules import NO_RULES, Backoff, RetryPolicy, Rules
from jobhall_server.hall.bulk import PurgeJobs
from jobhall_server.hall.job_units import CancelJob, DeleteJob, RetryJob, UpdateJob
from jobhall_server.hall.submits import Special, SubmitJobs, Submitted
from tests.support.lifecycle.job import ModelJob
from tests.support.lifecycle.words import CODE, Answer
from tests.support.lifecycle.workers import Workers
from tests.support.planned_units import equals, taken
from tests.support.stores import Act, ActAfterSave

RULES = (
    NO_RULES,
    Rules(RetryPolicy(Backoff.FIXED, 3, 3, 1.0, 0.5), run_timeout_us=4),
    Rules(RetryPolicy(Backoff.EXPONENTIAL, 2, 6, 2.0, 0.5, ("RUN_TIMEOUT",)), progress_timeout_us=2),
    Rules(RetryPolicy(Backoff.LINEAR, 2, 5, 1.0, 0.0, (CODE,)), run_timeout_us=5, progress_timeout_us=3),
    Rules(RetryPolicy(Backoff.FIXED, 0, 0, 1.0, 0.0)),
)
"""With delays of microseconds, like everything here; but the first, which waits for seconds."""
KIND = st.tuples(st.integers(0, 1), st.integers(-1, 1), st.sampled_from((1, 2, 4, 5)), st.integers(0, len(RULES) - 1))
"""Of a job: which queue, its priority, its attempts, its rules."""
GRACE_US = 3
BATCH_ID = str(UUID(int=2**64 - 1))


class Clients(Workers):
    """With clients come jobs, and a batch for some of them."""

    def __init__(self) -> None:
        super().__init__()
        self.job_ids: list[str] = []
        self.batch: BatchRecord

    @rule(
        queue=st.integers(0, 1),
        after=st.none() | st.integers(0, 4),
        within=st.none() | st.integers(5, 9),
        member=st.booleans(),
        alone=st.booleans(),
    )
    def submit_with_conditions(
        self, queue: int, after: int | None, within: int | None, *, member: bool, alone: bool
    ) -> None:
        """Not before its time, not begun after another, in a batch."""
        self.submit_special(queue, alone=alone, after=after, within=within, member=member)

    @rule(
        data=st.data(),
        queue=st.integers(0, 1),
        after=st.none() | st.integers(1, 4),
        policy=st.sampled_from(UniquePolicy).filter(bool),
        member=st.booleans(),
        alone=st.booleans(),
    )
    def submit_under_a_key(
        self, data: st.DataObject, queue: int, after: int | None, policy: UniquePolicy, *, member: bool, alone: bool
    ) -> None:
        """One that is free, or that another job has or had, which perhaps has just been cancelled."""
        holder = data.draw(st.sampled_from([None, *self.model.holders.values()]))
        unique = "a" if holder is None or holder.unique is None else holder.unique
        if holder is not None:
            queue = self.queues.index(holder.queue)
            if data.draw(st.booleans()):
                self.cancelled(holder.job_id, alone=data.draw(st.booleans()))
        self.submit_special(queue, alone=alone, after=after, member=member, unique=unique, policy=policy)

    def submit_special(
        self,
        queue: int,
        *,
        alone: bool,
        after: int | None = None,
        within: int | None = None,
        member: bool = False,
        unique: str | None = None,
        policy: UniquePolicy = UniquePolicy.REJECT,
    ) -> None:
        self.job_ids.append(str(UUID(int=2**64 + len(self.job_ids))))
        rules = RULES[1]
        job = new_job(self.job_ids[-1], self.queues[queue], rules=rules)._replace(
            schedule_at=None if after is None else self.now + after,
            start_deadline=None if within is None else self.now + within,
            unique_key=unique,
        )
        modelled = self.modelled(job, rules, member=member)
        expected = self.model.submit(modelled, self.now, policy)
        special = {0: Special("job", BATCH_ID if member else "", policy)}
        self.plan_submits(SubmitJobs(ANYBODY, [job], atomic=False, special=special), [modelled], expected, alone=alone)

    @rule(
        data=st.data(),
        columns=st.frozensets(st.sampled_from(("priority", "schedule_at", "start_deadline", "labels")), min_size=1),
        priority=st.integers(-1, 1),
        after=st.none() | st.integers(-1, 4),
        within=st.none() | st.integers(5, 9),
        labels=st.sampled_from((None, '{"team": "red"}')),
        alone=st.booleans(),
    )
    def update(
        self,
        data: st.DataObject,
        columns: frozenset[str],
        priority: int,
        after: int | None,
        within: int | None,
        labels: str | None,
        *,
        alone: bool,
    ) -> None:
        job_id = data.draw(
            st.sampled_from(self.model.in_states((JobState.SCHEDULED, JobState.PENDING)) or self.job_ids)
        )
        update = JobUpdate(
            columns,
            priority,
            None if after is None else self.now + after,
            None if within is None else self.now + within,
            labels,
        )
        expected = self.model.update(job_id, update, self.now)
        self.store.plan(UpdateJob(ANYBODY, job_id, update, ""), lambda answer: told(answer, expected), alone=alone)

    @rule(kinds=st.lists(KIND, min_size=1, max_size=2), member=st.booleans(), alone=st.booleans())
    def submit(self, kinds: list[tuple[int, int, int, int]], *, member: bool, alone: bool) -> None:
        new, told_of = [], []
        for queue, priority, max_attempts, rules in kinds:
            self.job_ids.append(str(UUID(int=2**64 + len(self.job_ids))))
            job = new_job(self.job_ids[-1], self.queues[queue], priority, max_attempts, rules=RULES[rules])
            told_of.append(self.modelled(job, RULES[rules], member=member))
            assert self.model.submit(told_of[-1], self.now) is Answer.OK
            new.append(job)
        special = dict.fromkeys(range(len(new)), Special("job", BATCH_ID, UniquePolicy.REJECT)) if member else {}
        unit = SubmitJobs(ANYBODY, new, atomic=True, special=special)
        self.plan_submits(unit, told_of, Answer.OK, alone=alone)

    @rule(data=st.data(), same=st.booleans(), alone=st.booleans())
    def submit_again(self, data: st.DataObject, *, same: bool, alone: bool) -> None:
        """The same one is that job; another under its id is refused; after a delete it is a new job."""
        job_id = data.draw(st.sampled_from(self.job_ids))
        known = self.model.jobs.get(job_id)
        job = new_job(job_id, known.queue if known else self.queues[0], content=1 if same else 2)
        modelled = self.modelled(job)
        expected = self.model.submit(modelled, self.now)
        self.plan_submits(SubmitJobs(ANYBODY, [job], atomic=False), [modelled], expected, alone=alone)

    def plan_submits(self, unit: SubmitJobs, jobs: list[ModelJob], expected: Answer, *, alone: bool) -> None:
        """The model learns the keys of those that are there."""

        def check(answers: list[Submitted | ApiError]) -> None:
            for answer, job in zip(answers, jobs, strict=True):
                told(answer, expected)
                if isinstance(answer, Submitted) and self.model.jobs.get(answer.job_id) is job:
                    self.model.keys[answer.key] = job

        self.store.plan(unit, check, alone=alone)

    def modelled(self, job: NewJob, rules: Rules = NO_RULES, *, member: bool = False) -> ModelJob:
        facts = (job.queue_key, job.priority, job.max_attempts, job.submit_digest)
        return ModelJob(
            job.job_id,
            0,
            *facts,
            self.now,
            rules,
            schedule_at=job.schedule_at,
            start_deadline=job.start_deadline,
            unique=job.unique_key,
            member=member,
        )

    @rule(data=st.data(), alone=st.booleans())
    def cancel(self, data: st.DataObject, *, alone: bool) -> None:
        self.cancelled(data.draw(st.sampled_from(self.model.in_states(HELD_STATES) or self.job_ids)), alone=alone)

    def cancelled(self, job_id: str, *, alone: bool) -> None:
        expected = self.model.cancel(job_id, stop_at=self.now + GRACE_US)
        unit = CancelJob(ANYBODY, job_id, "why", GRACE_US, "")
        self.store.plan(unit, lambda answer: told(answer, expected), alone=alone)

    @rule(data=st.data(), alone=st.booleans(), etag=st.sampled_from(("", "right", "old")))
    def retry(self, data: st.DataObject, *, alone: bool, etag: str) -> None:
        """What has ended, or what has just been cancelled after an attempt at it."""
        over = [JobState.FAILED, JobState.CANCELLED]
        job_id = data.draw(st.sampled_from(self.model.in_states(over) or self.job_ids))
        if data.draw(st.booleans()):
            job_id = data.draw(st.sampled_from(self.model.once_claimed() or self.job_ids))
            self.cancelled(job_id, alone=data.draw(st.booleans()))
        job = self.model.jobs.get(job_id)
        revision = len(job.events) if job else 1
        if etag == "old" and job:
            unit, expected = RetryJob(ANYBODY, job_id, str(revision - 1)), Answer.ETAG_MISMATCH
        else:
            unit, expected = (
                RetryJob(ANYBODY, job_id, str(revision) if etag else ""),
                self.model.retry(job_id, self.now),
            )
        self.store.plan(unit, lambda answer: told(answer, expected), alone=alone)

    @rule(data=st.data(), alone=st.booleans())
    def cancel_or_delete_any(self, data: st.DataObject, *, alone: bool) -> None:
        """A delete that was decided on an older revision leaves the job alone: its caller reads it again."""
        job_id = data.draw(st.sampled_from(self.model.once_claimed() or self.job_ids))
        what = data.draw(st.sampled_from(("cancel", "delete", "delete, read before")))
        job = self.model.jobs.get(job_id)
        revision = len(job.events) if job else 1
        if what == "cancel":
            self.cancelled(job_id, alone=alone)
        elif what == "delete, read before" and job and job.state not in HELD_STATES:
            self.store.plan(DeleteJob(ANYBODY, job_id, revision - 1), equals(expected=False), alone=alone)
        else:
            expected = self.model.delete(job_id)
            unit = DeleteJob(ANYBODY, job_id, revision)
            self.store.plan(unit, lambda answer: told(answer, expected), alone=alone)

    @rule(microseconds=st.integers(0, 3), alone=st.booleans())
    def purge(self, microseconds: int, *, alone: bool) -> None:
        """Of all that was once found, what is over still: a purge finds nothing that is not durable."""
        self.store.run_planned()
        ended_by, found = self.now - microseconds, [*self.model.jobs]
        over = self.model.purge(ended_by)
        self.store.plan(PurgeJobs(ANYBODY, found, ended_by), equals(expected=len(over)), alone=alone)

    @rule()
    def hold_back_or_hand_out(self) -> None:
        """The whole batch, in one step, after what was planned."""
        self.store.run_planned()
        self.model.active = not self.model.active
        members = [key for key, job in self.model.keys.items() if job.member]
        batch = self.batch.changed(active=self.model.active)
        self.store.plan(Act(lambda group: group.save_batch(batch), batch_ids=(BATCH_ID,)), taken)
        self.store.plan(ActAfterSave(lambda group: group.hold_back(members, held_back=not self.model.active)), taken)
        for key in members:
            job = self.model.keys[key]
            job.held_back = not self.model.active and job.state is not JobState.COMPLETED
        self.batch = batch


def new_job(
    job_id: str, queue: int, priority: int = 0, max_attempts: int = 3, *, content: int = 1, rules: Rules = NO_RULES
) -> NewJob:
    return NewJob(
        job_id, 1, queue, priority=priority, max_attempts=max_attempts, submit_digest=content, rules=rules.text()
    )


def told(answer: object, expected: Answer) -> None:
    assert (answer.reason if isinstance(answer, ApiError) else "OK") == expected.value
