"""The part of the lifecycle machine in which jobs come from elsewhere, in whatever state they were there."""

from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import rule

from jobhall.errors import ApiError
from jobhall.states import WAITING_STATES, AttemptOutcome, EventType, FailureKind, JobState
from jobhall_server.domain.access import ANYBODY
from jobhall_server.domain.job import AttemptView, JobFailure, JobView
from jobhall_server.hall.imports import Imported, ImportedJob, ImportJobs
from jobhall_server.hall.views import JobTypeView
from tests.support.job_views import job_view
from tests.support.lifecycle.clients import BATCH_ID, Clients
from tests.support.lifecycle.job import ModelJob
from tests.support.lifecycle.sessions import TYPES

S = JobState
LATE = JobFailure(FailureKind.TIMEOUT, "late", "LATE")
BEGUN = frozenset({S.RUNNING, S.CANCELLING, S.COMPLETED})
WELL = frozenset({S.COMPLETED, S.CANCELLED, S.CANCELLING})
HERE = {S.CLAIMED: S.PENDING, S.RUNNING: S.PENDING, S.CANCELLING: S.CANCELLED}
INTERRUPTED = {S.RUNNING: AttemptOutcome.RELEASED, S.CANCELLING: AttemptOutcome.CANCELLED}
LATER_US = 4


class Imports(Clients):
    """With jobs from elsewhere come histories that nobody here has seen."""

    @rule(
        queue=st.integers(0, 1),
        state=st.sampled_from([state for state in S if state]),
        failures=st.integers(0, 2),
        losses=st.integers(0, 2),
        unseen=st.booleans(),
        member=st.booleans(),
        unique=st.none() | st.just("a"),
        alone=st.booleans(),
    )
    def bring_in(
        self,
        queue: int,
        state: JobState,
        failures: int,
        losses: int,
        unique: str | None,
        *,
        unseen: bool,
        member: bool,
        alone: bool,
    ) -> None:
        """After some attempts that failed, and perhaps a delivery that was never accepted (`unseen`)."""
        failures = max(failures, state is S.FAILED)
        self.job_ids.append(str(UUID(int=2**64 + len(self.job_ids))))
        there = self.there(state, failures, unseen=unseen and state in WAITING_STATES)._replace(
            worker_losses=losses, unique_key=unique or "", batch_id=BATCH_ID if member else ""
        )
        modelled = self.here(there, failures, self.queues[queue], member=member)
        expected = self.model.bring_in(modelled)

        def check(answer: Imported | ApiError) -> None:
            assert (answer.reason if isinstance(answer, ApiError) else "OK") == expected.value
            if isinstance(answer, Imported) and self.model.jobs.get(there.job_id) is modelled:
                self.model.keys[answer.jobs[0].key] = modelled

        brought = ImportedJob(
            "jobs[0]", TYPES[queue], there, [self.failed(number) for number in range(1, failures + 1)]
        )
        types = {("default", name): JobTypeView(0, "default", name, 0) for name in TYPES}
        self.store.plan(ImportJobs(ANYBODY, [brought], types, validate_only=False), check, alone=alone)

    def there(self, state: JobState, failures: int, *, unseen: bool) -> JobView:
        """The job as the other server told of it."""
        begun = state in BEGUN
        started_at = self.now - 3 if begun else self.now - 6 if failures else None
        return job_view(
            state,
            job_id=self.job_ids[-1],
            revision=0,
            attempt=failures + begun,
            max_attempts=failures + 2,
            fence=failures + (begun or unseen or state is S.CLAIMED),
            created_at=self.now - 9,
            started_at=None if unseen or state is S.CLAIMED else started_at,
            ended_at=self.now - 1 if state.terminal else None,
            schedule_at=self.now + LATER_US if state is S.SCHEDULED else None,
            failure=LATE if failures and state not in WELL else None,
        )

    def failed(self, number: int) -> AttemptView:
        return AttemptView(
            number, number, "afar", "", None, self.now - 6, self.now - 5, AttemptOutcome.FAILED, failure=LATE
        )

    def here(self, there: JobView, failures: int, queue: int, *, member: bool) -> ModelJob:
        """What is to become of it."""
        running = there.state is S.RUNNING
        attempt = there.attempt - running
        history = {number: (number, AttemptOutcome.FAILED) for number in range(1, failures + 1)}
        if there.state in INTERRUPTED:
            history[there.fence] = (there.attempt, INTERRUPTED[there.state])
        return ModelJob(
            there.job_id,
            0,
            queue,
            0,
            there.max_attempts,
            0,
            self.now,
            unique=there.unique_key or None,
            member=member,
            state=HERE.get(there.state, there.state),
            attempt=attempt,
            losses=0 if running else there.worker_losses,
            fence=there.fence,
            started_at=there.started_at,
            due_at=there.schedule_at,
            failure=FailureKind.UNSPECIFIED if there.failure is None else LATE.kind,
            events=[(EventType.IMPORTED, attempt)],
            history=history,
        )
