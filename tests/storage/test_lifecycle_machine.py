"""The lifecycle over the real store, held against a plain model: any order of submits, claims, words and deaths."""

import asyncio
import shutil
import sqlite3
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from jobhall.errors import ApiError
from jobhall.states import HELD_STATES, TERMINAL_STATES, EventType, JobState, LogLevel
from jobhall_server.domain.access import ANYBODY
from jobhall_server.domain.job import ItemError, Lease, NewJob
from jobhall_server.domain.session import NewSession, SessionRecord, SessionState
from jobhall_server.hall.claims import _Claim
from jobhall_server.hall.frames import ItemErrorsBody, LogsBody, Report, ReportKind
from jobhall_server.hall.jobs import _CancelJob, _DeleteJob
from jobhall_server.hall.leases import LoseTasks, ReturnTasks, StopTasks
from jobhall_server.hall.reports import Judged, JudgeReports
from jobhall_server.hall.sessions import MoveSessions, OpenSession
from jobhall_server.hall.store import LogLine, QueueView, Unit, Want
from jobhall_server.hall.submits import SubmitJobs
from jobhall_server.storage.engines import Synchronous
from jobhall_server.storage.store import Store
from tests.support.lifecycle_model import ITEM_ERRORS_TOLD, Answer, Model, ModelJob, Word
from tests.support.worker_frames import accepted, completed, failed, released

EXAMPLES = 100
STEPS = 40
TYPES = ("resize", "zip")
START = 1_800_000_000_000_000
ERRORS = [ItemError(None, "row", "BAD", "bad row")] * ITEM_ERRORS_TOLD
EVENT_STATES = {
    EventType.SUBMITTED: JobState.PENDING,
    EventType.READY: JobState.PENDING,
    **{EventType[state.name]: state for state in JobState if state not in (JobState.UNSPECIFIED, JobState.PENDING)},
}


class StandingClock:
    """Moves only when told; many moves of one microsecond are what ties in the ready order are made of."""

    def __init__(self) -> None:
        self.now = START

    def now_us(self) -> int:
        return self.now

    def monotonic(self) -> float:
        return self.now / 1_000_000


Check = Callable[[Any], None]


class Lifecycle(RuleBasedStateMachine):
    """Each rule plans a unit and tells the model. `alone` runs what is planned; else it waits and shares a group."""

    jobs = Bundle("jobs")
    sessions = Bundle("sessions")
    leases = Bundle("leases")

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.clock = StandingClock()
        self.planned: list[tuple[Unit[Any], Check]] = []
        self.nonce = 0
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp(prefix="jobhall-lifecycle-"))
        self.open = AsyncExitStack()
        path = self.folder / "jobhall.db"
        # What a power cut would do is not asked here, so nothing waits for the disk.
        store = Store.open(f"sqlite:///{path}", clock=self.clock, synchronous=Synchronous.OFF)
        self.store = self.wait(self.open.enter_async_context(store))
        self.file = sqlite3.connect(path)
        self.queues: list[int] = []

    def wait(self, work: Awaitable[Any]) -> Any:
        async def done() -> Any:
            return await work

        return self.loop.run_until_complete(done())

    def plan(self, unit: Unit[Any], check: Check, *, alone: bool = True) -> None:
        self.planned.append((unit, check))
        if alone:
            self.run_planned()

    def run_planned(self) -> None:
        planned, self.planned = self.planned, []

        async def together() -> list[Any]:
            answers = [self.store.run(unit) for unit, _ in planned]
            return await asyncio.gather(*answers, return_exceptions=True)

        for (_, check), answer in zip(planned, self.wait(together()), strict=True):
            if isinstance(answer, BaseException) and not isinstance(answer, ApiError):
                raise answer
            check(answer)

    # --- sessions ---

    @initialize(target=sessions)
    def the_first_worker_joins(self) -> SessionRecord:
        return self.join()

    @rule(target=sessions)
    def a_worker_joins(self) -> SessionRecord:
        return self.join()

    def join(self) -> SessionRecord:
        self.nonce += 1
        new = NewSession(
            session_id=str(UUID(int=self.nonce)),
            resume_token="",
            worker_name=f"worker-{self.nonce}",
            namespaces=("default",),
            job_types=TYPES,
            labels="{}",
            runtime="{}",
            tasks_max=10,
            replica_key=self.store.replica_key,
            connection=1,
        )
        opened: list[Any] = []
        self.plan(OpenSession(new, auto_register=True), opened.append)
        views: tuple[QueueView, ...] = opened[0].queues
        self.queues = [view.key for view in views]
        session: SessionRecord = opened[0].session
        return session

    @rule(session=consumes(sessions), confirmed=st.booleans(), stray=leases | st.none(), alone=st.booleans())
    def a_session_is_lost(self, session: SessionRecord, *, confirmed: bool, stray: Lease | None, alone: bool) -> None:
        """A stray job is one that some session held once; the loss of this one must not touch it if it does not now."""
        for source, target in (
            (SessionState.ATTACHED, SessionState.DETACHED),
            (SessionState.DETACHED, SessionState.LOST),
        ):
            self.plan(MoveSessions((session.key,), source, target), equals(1), alone=False)
        held = dict.fromkeys([*self.model.held_by(session.key), *([stray.job_key] if stray else [])], session.key)
        seen = frozenset(held) if confirmed else frozenset()
        self.model.lose(held, seen, self.clock.now)
        self.plan(LoseTasks(held, confirmed=seen), ignored, alone=alone)

    @rule(session=sessions, lease=leases, confirmed=st.booleans(), alone=st.booleans())
    def a_worker_loses_a_task(self, session: SessionRecord, lease: Lease, *, confirmed: bool, alone: bool) -> None:
        held = {lease.job_key: session.key}
        seen = frozenset(held) if confirmed else frozenset()
        self.model.lose(held, seen, self.clock.now)
        self.plan(LoseTasks(held, confirmed=seen), ignored, alone=alone)

    # --- clients ---

    @rule(
        target=jobs,
        kinds=st.lists(st.tuples(st.integers(0, 1), st.integers(-1, 1), st.integers(1, 3)), min_size=1, max_size=4),
        alone=st.booleans(),
    )
    def submit(self, kinds: list[tuple[int, int, int]], *, alone: bool) -> MultipleResults[str]:
        new = []
        for place, (queue, priority, max_attempts) in enumerate(kinds):
            job_id = str(UUID(int=(self.model.submitted << 8) + place + 2**64))
            new.append(self.new_job(job_id, queue=self.queues[queue], priority=priority, max_attempts=max_attempts))
        for job in new:
            self.submit_to_model(job)
        self.plan(SubmitJobs(ANYBODY, new, atomic=True), lambda answers: told_all(answers, Answer.OK), alone=alone)
        return multiple(*(job.job_id for job in new))

    @rule(job_id=jobs, same=st.booleans(), alone=st.booleans())
    def submit_again(self, job_id: str, *, same: bool, alone: bool) -> None:
        """The same one is that job; another under its id is refused; after a delete it is a new job."""
        known = self.model.jobs.get(job_id)
        job = self.new_job(
            job_id,
            queue=known.queue if known else self.queues[0],
            priority=known.priority if known else 0,
            max_attempts=known.max_attempts if known else 2,
            content=(known.content if known else 1) + (not same),
        )
        expected = self.submit_to_model(job)
        self.plan(SubmitJobs(ANYBODY, [job], atomic=False), lambda answers: told_all(answers, expected), alone=alone)

    def new_job(self, job_id: str, *, queue: int, priority: int, max_attempts: int, content: int = 1) -> NewJob:
        return NewJob(job_id, 1, queue, priority=priority, max_attempts=max_attempts, submit_digest=content)

    def submit_to_model(self, job: NewJob) -> Answer:
        return self.model.submit(
            job.job_id,
            queue=job.queue_key,
            priority=job.priority,
            max_attempts=job.max_attempts,
            content=job.submit_digest,
            now=self.clock.now,
        )

    @rule(job_id=jobs, alone=st.booleans())
    def cancel(self, job_id: str, *, alone: bool) -> None:
        expected = self.model.cancel(job_id)
        self.plan(_CancelJob(ANYBODY, job_id, "why"), lambda answer: told(answer, expected), alone=alone)

    @rule(job_id=jobs, stale=st.booleans(), alone=st.booleans())
    def delete(self, job_id: str, *, stale: bool, alone: bool) -> None:
        """One that was read at an older revision is left alone, and the caller reads it again."""
        job = self.model.jobs.get(job_id)
        revision = len(job.events) if job else 1
        if stale and job and job.state not in HELD_STATES:
            self.plan(_DeleteJob(ANYBODY, job_id, revision - 1), equals(expected=False), alone=alone)
            return
        expected = self.model.delete(job_id)
        self.plan(_DeleteJob(ANYBODY, job_id, revision), lambda answer: told(answer, expected), alone=alone)

    # --- workers ---

    @rule(
        target=leases,
        session=sessions,
        credit=st.integers(1, 5),
        limits=st.tuples(st.integers(0, 4), st.integers(1, 4)),
        other_first=st.booleans(),
    )
    def claim(
        self, session: SessionRecord, credit: int, limits: tuple[int, int], *, other_first: bool
    ) -> MultipleResults[Lease]:
        """Whatever else is in the group, the claim comes after it."""
        self.nonce += 1
        queues = tuple(zip(self.queues, limits, strict=True))[:: -1 if other_first else 1]
        expected = self.model.claim(session.key, credit, queues)
        want = Want(session.key, session.epoch, credit, self.nonce, "worker", queues)
        won: list[list[list[Any]]] = []
        self.plan(_Claim([want]), won.append)
        [claimed] = won[0]
        assert [(job.job_id, job.attempt, job.lease.fence) for job in claimed] == [
            (job.job_id, job.attempt + 1, job.fence) for job in expected
        ]
        self.model.keys |= {job.lease.job_key: model for job, model in zip(claimed, expected, strict=True)}
        return multiple(*(job.lease for job in claimed))

    @rule(session=consumes(sessions))
    def a_detached_session_is_given_nothing(self, session: SessionRecord) -> None:
        move = MoveSessions((session.key,), SessionState.ATTACHED, SessionState.DETACHED)
        want = Want(session.key, session.epoch, 5, 1, "worker", tuple((queue, 5) for queue in self.queues))

        self.plan(move, equals(1), alone=False)
        self.plan(_Claim([want]), equals([[]]))

    @rule(
        said=st.lists(st.tuples(leases, st.sampled_from(Word), st.integers(2, 3)), min_size=1, max_size=4),
        alone=st.booleans(),
    )
    def workers_report(self, said: list[tuple[Lease, Word, int]], *, alone: bool) -> None:
        """Whatever they say, in whatever order, on tokens old and new."""
        reports = [told_by(word, seq, lease, digest) for seq, (lease, word, digest) in enumerate(said, 1)]
        expected = [
            self.model.report(lease, word, digest_of(word, digest), self.clock.now) for lease, word, digest in said
        ]

        def check(judged: Judged) -> None:
            refused = {place: answer.value for place, answer in enumerate(expected) if answer is not Answer.OK}
            assert {place: error.reason for place, error in judged.refused.items()} == refused

        self.plan(JudgeReports(reports), check, alone=alone)

    @rule(late=st.lists(leases, min_size=1, max_size=3), alone=st.booleans())
    def deliveries_are_not_accepted(self, late: list[Lease], *, alone: bool) -> None:
        self.model.give_back(late, self.clock.now)
        self.plan(ReturnTasks(late), ignored, alone=alone)

    @rule(over=st.lists(leases, min_size=1, max_size=3), alone=st.booleans())
    def a_grace_is_over(self, over: list[Lease], *, alone: bool) -> None:
        self.model.stop(over)
        self.plan(StopTasks(over), ignored, alone=alone)

    @rule(microseconds=st.integers(1, 3))
    def time_passes(self, microseconds: int) -> None:
        self.run_planned()
        self.clock.now += microseconds

    # --- what must hold ---

    @invariant()
    def the_store_is_where_the_model_is(self) -> None:
        if not self.planned:
            assert self.stored_jobs() == {job.job_id: shown(job) for job in self.model.jobs.values()}
            self.check_events()

    def stored_jobs(self) -> dict[str, tuple[object, ...]]:
        columns = (
            "job_id state attempt fence worker_losses lease held_by revision item_error_count priority_order "
            "max_attempts ready_at failure_kind terminal"
        )
        rows = self.file.execute(f"SELECT {', '.join(columns.split())} FROM jobhall_jobs")
        return {str(UUID(bytes=row[0])): (*row[1:-1], row[-1] is not None) for row in rows}

    def check_events(self) -> None:
        rows = self.file.execute(
            "SELECT number, job_key, event_type, state, revision, attempt FROM jobhall_events ORDER BY number"
        ).fetchall()
        told: dict[int, list[tuple[EventType, int]]] = {}
        for place, (number, key, kind, state, revision, attempt) in enumerate(rows, 1):
            events = told.setdefault(key, [])
            events.append((EventType(kind), attempt))
            assert number == place, "the log has no gap"
            assert revision == len(events), "and neither has any job's part of it"
            assert EVENT_STATES.get(EventType(kind), state) == state
        everything = [*self.model.jobs.values(), *self.model.deleted]
        assert list(told.values()) == [job.events for job in sorted(everything, key=lambda job: job.order)]

    def teardown(self) -> None:
        try:
            self.run_planned()
            self.the_store_is_where_the_model_is()
            for job in self.model.terminal():
                view = self.wait(self.store.reads.job(ANYBODY, job.job_id))
                assert (view.result.content if view.result else None) == job.result
                assert (view.failure.kind if view.failure else 0) == job.failure
        finally:
            self.file.close()
            self.wait(self.open.aclose())
            self.wait(self.loop.shutdown_default_executor())
            self.loop.close()
            shutil.rmtree(self.folder)


@pytest.mark.timeout(120)
def test_in_whatever_order_things_happen_the_store_is_where_the_design_says() -> None:
    run_state_machine_as_test(
        Lifecycle, settings=settings(max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None)
    )


def shown(job: ModelJob) -> tuple[object, ...]:
    held = job.session if job.state in HELD_STATES else None
    counters = (job.state, job.attempt, job.fence, job.losses, job.lease, held, len(job.events), job.item_errors)
    ended = job.state in TERMINAL_STATES
    return (*counters, -job.priority, job.max_attempts, job.ready_at, job.failure, ended)


def digest_of(word: Word, variant: int) -> int:
    """Outcomes of different kinds never have the same digest, and all without a result have one."""
    return 1 if word is Word.COMPLETED else list(Word).index(word) * 10 + variant


def told_by(word: Word, seq: int, lease: Lease, variant: int) -> Report:
    token, digest = lease.token(), digest_of(word, variant)
    match word:
        case Word.ACCEPTED:
            return accepted(seq, token)
        case Word.LOG:
            line = LogLine(START, LogLevel.INFO, "hello", None, None)
            return Report(seq, token, ReportKind.LOGS, LogsBody(1, [line]))
        case Word.ITEM_ERRORS:
            return Report(seq, token, ReportKind.ITEM_ERRORS, ItemErrorsBody(1, ERRORS))
        case Word.COMPLETED:
            return completed(seq, token)
        case Word.COMPLETED_WITH_RESULT:
            return completed(seq, token, result=str(digest), digest=digest)
        case Word.FAILED | Word.FAILED_RETRYABLE:
            return failed(seq, token, retryable=word is Word.FAILED_RETRYABLE, digest=digest)
        case Word.RELEASED:
            return released(seq, token, digest=digest)


def equals(expected: object) -> Check:
    def check(answer: object) -> None:
        assert answer == expected

    return check


def ignored(answer: object) -> None:
    assert not isinstance(answer, ApiError)


def told(answer: object, expected: Answer) -> None:
    assert (answer.reason if isinstance(answer, ApiError) else "OK") == expected.value


def told_all(answers: object, expected: Answer) -> None:
    assert isinstance(answers, list)
    for answer in answers:
        told(answer, expected)
