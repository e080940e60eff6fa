"""The lifecycle machine: time goes on beside clients and workers, and what must hold when nothing is under way."""

from collections.abc import Sequence

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from jobhall.states import TERMINAL_STATES, AttemptOutcome, EventType, FailureKind, JobState
from jobhall_server.domain.batch import COUNTED_STATES, NewBatch
from jobhall_server.hall.leases import FallDue, Fallen
from tests.support.lifecycle.clients import BATCH_ID, KIND
from tests.support.lifecycle.imports import Imports
from tests.support.lifecycle.job import ModelJob
from tests.support.lifecycle.sessions import CHANCES
from tests.support.stores import Act

COLUMNS = (
    "state attempt fence worker_losses releases lease held_by revision item_error_count priority_order max_attempts "
    "failure_kind checkpoint_bytes excluded due_at started_at ready start_deadline labels"
)
STEPS = 40
PHASES = (Phase.reuse, Phase.generate, Phase.shrink)
"""To explain a failure would take longer than to find it."""
EVENT_STATES = {
    EventType.READY: JobState.PENDING,
    EventType.RETRIED: JobState.PENDING,
    **{EventType[state.name]: state for state in JobState if state not in (JobState.UNSPECIFIED, JobState.PENDING)},
}


class Lifecycle(Imports):
    """With time, jobs fall due. Whenever nothing is under way the store is where the model is."""

    @initialize(kinds=st.lists(KIND, min_size=2, max_size=5))
    def two_workers_and_a_few_jobs(self, kinds: list[tuple[int, int, int, int]]) -> None:
        self.join({})
        self.join({})
        new = NewBatch(BATCH_ID, 1, "default", closed=False)
        self.store.plan(Act(lambda group: group.open_batch(new)), lambda batch: setattr(self, "batch", batch))
        self.submit(kinds, member=True, alone=True)

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
        assert dict(zip(COUNTED_STATES, batch.record.counts, strict=True)) == self.model.counts(of_batch=True)
        assert (batch.progress.total or 0) == self.model.items_of_batch()

    def check_events(self) -> None:
        told: dict[int, list[tuple[EventType, int]]] = {}
        for place, event in enumerate(self.store.events(), 1):
            events = told.setdefault(event.job_key, [])
            events.append((event.event_type, event.attempt))
            assert event.number == place, "the log has no gap"
            assert event.revision == len(events), "and neither has any job's part of it"
            assert EVENT_STATES.get(event.event_type, event.state) == event.state
        everything = [*self.model.jobs.values(), *self.model.deleted]
        # By key, since a group logs what comes from elsewhere after what was submitted.
        assert [told[key] for key in sorted(told)] == [
            job.events for job in sorted(everything, key=lambda job: job.order)
        ]

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
