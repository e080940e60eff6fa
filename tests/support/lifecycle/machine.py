"""The lifecycle machine: clients and time beside the workers, and what must hold whenever nothing is under way."""

from collections.abc import Sequence
from uuid import UUID

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from jobhall.errors import ApiError
from jobhall.states import HELD_STATES, TERMINAL_STATES, AttemptOutcome, EventType, FailureKind, JobState, UniquePolicy
from jobhall_server.domain.access import ANYBODY
from jobhall_server.domain.batch import COUNTED_STATES, BatchRecord, NewBatch
from jobhall_server.domain.job import NewJob
from jobhall_server.domain.moves import JobUpdate
from jobhall_server.domain.rules import NO_RULES, Backoff, RetryPolicy, Rules
from jobhall_server.hall.bulk import PurgeJobs
from jobhall_server.hall.job_units import CancelJob, DeleteJob, RetryJob, UpdateJob
from jobhall_server.hall.leases import FallDue, Fallen
from jobhall_server.hall.submits import Special, SubmitJobs, Submitted
from tests.support.lifecycle.job import ModelJob
from tests.support.lifecycle.sessions import CHANCES
from tests.support.lifecycle.words import CODE, Answer
from tests.support.lifecycle.workers import Workers
from tests.support.planned_units import equals, taken
from tests.support.stores import Act, ActAfterSave

COLUMNS = (
    "state attempt fence worker_losses releases lease held_by revision item_error_count priority_order max_attempts "
    "failure_kind checkpoint_bytes excluded due_at started_at ready start_deadline labels"
)
STEPS = 40
PHASES = (Phase.reuse, Phase.generate, Phase.shrink)
"""To explain a failure would take longer than to find it."""
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
EVENT_STATES = {
    EventType.READY: JobState.PENDING,
    EventType.RETRIED: JobState.PENDING,
    **{EventType[state.name]: state for state in JobState if state not in (JobState.UNSPECIFIED, JobState.PENDING)},
}


class Lifecycle(Workers):
    """Clients and time, beside the workers; and what must hold whenever nothing is under way."""

    def __init__(self) -> None:
        super().__init__()
        self.job_ids: list[str] = []
        self.batch: BatchRecord

    @initialize(kinds=st.lists(KIND, min_size=2, max_size=5))
    def two_workers_and_a_few_jobs(self, kinds: list[tuple[int, int, int, int]]) -> None:
        self.join({})
        self.join({})
        self.submit(kinds, alone=True)
        new = NewBatch(BATCH_ID, 1, "default", closed=False)
        self.store.plan(Act(lambda group: group.open_batch(new)), lambda batch: setattr(self, "batch", batch))

    # --- clients ---

    @rule(
        queue=st.integers(0, 1),
        after=st.none() | st.integers(0, 4),
        within=st.none() | st.integers(5, 9),
        unique=st.sampled_from((None, "a", "b")),
        policy=st.sampled_from(UniquePolicy).filter(bool),
        member=st.booleans(),
        alone=st.booleans(),
    )
    def submit_with_conditions(
        self,
        queue: int,
        after: int | None,
        within: int | None,
        unique: str | None,
        policy: UniquePolicy,
        *,
        member: bool,
        alone: bool,
    ) -> None:
        """Not before its time, not begun after another, the only one with its key, in a batch."""
        self.job_ids.append(str(UUID(int=2**64 + len(self.job_ids))))
        rules = RULES[1]
        job = new_job(self.job_ids[-1], self.queues[queue], rules=rules)._replace(
            schedule_at=None if after is None else self.now + after,
            start_deadline=None if within is None else self.now + within,
            unique_key=unique,
        )
        modelled = self.modelled(job, rules)
        modelled.member = member
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

    @rule(kinds=st.lists(KIND, min_size=1, max_size=2), alone=st.booleans())
    def submit(self, kinds: list[tuple[int, int, int, int]], *, alone: bool) -> None:
        new, told_of = [], []
        for queue, priority, max_attempts, rules in kinds:
            self.job_ids.append(str(UUID(int=2**64 + len(self.job_ids))))
            job = new_job(self.job_ids[-1], self.queues[queue], priority, max_attempts, rules=RULES[rules])
            told_of.append(self.modelled(job, RULES[rules]))
            assert self.model.submit(told_of[-1], self.now) is Answer.OK
            new.append(job)
        self.plan_submits(SubmitJobs(ANYBODY, new, atomic=True), told_of, Answer.OK, alone=alone)

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

    def modelled(self, job: NewJob, rules: Rules = NO_RULES) -> ModelJob:
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
        over = [JobState.FAILED, JobState.CANCELLED]
        job_id = data.draw(st.sampled_from(self.model.in_states(over) or self.job_ids))
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
        ended_by = self.now - microseconds
        over = self.model.purge(ended_by)
        self.store.plan(PurgeJobs(ANYBODY, over, ended_by), equals(expected=len(over)), alone=alone)

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

    # --- time ---

    @rule(microseconds=st.integers(1, 3) | st.sampled_from((1_000_000, 10_000_000)))
    def time_passes(self, microseconds: int) -> None:
        self.store.run_planned()
        self.store.clock.at += microseconds

    @precondition(lambda self: self.model.due())
    @rule(data=st.data(), chance=CHANCES, wait=st.booleans(), alone=st.booleans())
    def jobs_fall_due(self, data: st.DataObject, chance: float, *, wait: bool, alone: bool) -> None:
        """Those that are found by it, or not yet, or not any more: their time alone decides."""
        keys = data.draw(st.permutations(self.model.due()))[:4]
        if wait:
            self.store.run_planned()
            self.store.clock.at = max(self.now, *(self.model.keys[key].due_at or 0 for key in keys))
        fallen = self.model.fall_due(keys, self.now, chance)
        expected = [(key, self.model.keys[key].state) for key in fallen]

        def check(moved: list[Fallen]) -> None:
            assert [(each.lease.job_key, each.target) for each in moved] == expected

        self.store.plan(FallDue(keys, [chance] * len(keys)), check, alone=alone)

    # --- what must hold ---

    @invariant()
    def the_store_is_where_the_model_is(self) -> None:
        if not self.store.planned:
            rows = self.store.jobs(COLUMNS)
            assert rows.keys() == self.model.jobs.keys()
            for job in self.model.jobs.values():
                named = zip(COLUMNS.split(), rows[job.job_id], shown(job), strict=True)
                wrong = {column: (there, told) for column, there, told in named if there != told}
                assert not wrong, f"of job {job.order}, as stored and in the model: {wrong}"
            self.check_events()
            self.check_counts()

    def check_counts(self) -> None:
        """What is counted as it happens is what there is."""
        counted, batch = self.store.counts(), self.store.batch(BATCH_ID)
        assert dict(zip(COUNTED_STATES, counted, strict=True)) == self.model.counts(of_batch=False)
        assert dict(zip(COUNTED_STATES, batch.counts, strict=True)) == self.model.counts(of_batch=True)

    def check_events(self) -> None:
        told: dict[int, list[tuple[EventType, int]]] = {}
        for place, event in enumerate(self.store.events(), 1):
            events = told.setdefault(event.job_key, [])
            events.append((event.event_type, event.attempt))
            assert event.number == place, "the log has no gap"
            assert event.revision == len(events), "and neither has any job's part of it"
            assert EVENT_STATES.get(event.event_type, event.state) == event.state
        everything = [*self.model.jobs.values(), *self.model.deleted]
        assert list(told.values()) == [job.events for job in sorted(everything, key=lambda job: job.order)]

    def teardown(self) -> None:
        try:
            self.store.run_planned()
            self.the_store_is_where_the_model_is()
            for job in self.model.jobs.values():
                view = self.store.read(job.job_id)
                assert self.store.attempts(view.key) == attempts_of(job)
                told_failure = view.failure.kind if view.failure else FailureKind.UNSPECIFIED
                hidden = job.state in (JobState.COMPLETED, JobState.CANCELLED)
                assert told_failure is (FailureKind.UNSPECIFIED if hidden else job.failure)
                if job.state in TERMINAL_STATES:
                    assert (view.result.content if view.result else None) == job.result
        finally:
            self.store.close()


def machine_on(engine: str) -> type[Lifecycle]:
    """The machine over a store of that engine."""
    return type("LifecycleOn", (Lifecycle,), {"engine": engine})


def stories(count: int, phases: Sequence[Phase] = PHASES) -> settings:
    """So many, each of some steps; without a phase for shrinking the first that fails is told as it is."""
    shrinks = Phase.shrink in phases
    return settings(
        max_examples=count,
        stateful_step_count=STEPS,
        deadline=None,
        phases=phases,
        report_multiple_bugs=shrinks,
        database=settings.default.database if shrinks and settings.default else None,
    )


def new_job(
    job_id: str, queue: int, priority: int = 0, max_attempts: int = 3, *, content: int = 1, rules: Rules = NO_RULES
) -> NewJob:
    return NewJob(
        job_id, 1, queue, priority=priority, max_attempts=max_attempts, submit_digest=content, rules=rules.text()
    )


def shown(job: ModelJob) -> tuple[object, ...]:
    """The columns of a job's row as the model has them."""
    held = job.session if job.held else None
    counters = (job.attempt, job.fence, job.losses, job.releases, job.lease, held, len(job.events), job.item_errors)
    asked = (-job.priority, job.max_attempts)
    kept = (job.failure, job.checkpoint_bytes, int(job.excluded))
    ready = job.ready_at if job.state is JobState.PENDING and not job.held_back else None
    return (job.state, *counters, *asked, *kept, job.due_at, job.started_at, ready, job.start_deadline, job.labels)


def attempts_of(job: ModelJob) -> list[tuple[int, int, AttemptOutcome]]:
    """What ListAttempts shows: fence, number and outcome."""
    found = dict(job.history)
    if job.started_at is not None and job.fence not in found:
        ended = job.state in TERMINAL_STATES
        found[job.fence] = (job.attempt, AttemptOutcome[job.state.name] if ended else AttemptOutcome.UNSPECIFIED)
    return [(fence, *told) for fence, told in sorted(found.items())]


def told(answer: object, expected: Answer) -> None:
    assert (answer.reason if isinstance(answer, ApiError) else "OK") == expected.value
