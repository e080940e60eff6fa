"""The lifecycle over the real store, held against a plain model: any order of submits, claims, words and deaths."""

from uuid import UUID

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from jobhall.errors import ApiError
from jobhall.states import HELD_STATES, EventType, JobState
from jobhall_server.domain.access import ANYBODY
from jobhall_server.domain.job import Lease, NewJob
from jobhall_server.domain.session import NewSession, SessionRecord, SessionState
from jobhall_server.hall.claims import _Claim
from jobhall_server.hall.jobs import _CancelJob, _DeleteJob
from jobhall_server.hall.leases import LoseTasks, ReturnTasks, StopTasks
from jobhall_server.hall.reports import Judged, JudgeReports
from jobhall_server.hall.sessions import MoveSessions, Opened, OpenSession
from jobhall_server.hall.store import Claimed, Want
from jobhall_server.hall.submits import SubmitJobs
from tests.support.lifecycle_model import Answer, Model, ModelJob, Word, digest_of, told_by
from tests.support.planned_units import PlannedStore, equals, taken

COLUMNS = (
    "state attempt fence worker_losses lease held_by revision item_error_count priority_order max_attempts "
    "failure_kind ready"
)
EXAMPLES = 200
STEPS = 30
TYPES = ("resize", "zip")
SESSIONS_MAX = 3
KIND = st.tuples(st.integers(0, 1), st.integers(-1, 1), st.integers(1, 3))
"""Of a job: which queue, its priority, its attempts."""
WORDS = st.just(Word.ACCEPTED) | st.just(Word.RELEASED) | st.sampled_from(Word)
EVENT_STATES = {
    EventType.SUBMITTED: JobState.PENDING,
    EventType.READY: JobState.PENDING,
    **{EventType[state.name]: state for state in JobState if state not in (JobState.UNSPECIFIED, JobState.PENDING)},
}


class Lifecycle(RuleBasedStateMachine):
    """Each rule plans a unit and tells the model. `alone` runs what is planned; else it waits and shares a group."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.store = PlannedStore()
        self.nonce = 0
        self.queues: list[int] = []
        self.sessions: list[SessionRecord] = []
        self.job_ids: list[str] = []
        self.leases: list[Lease] = []

    @property
    def now(self) -> int:
        return self.store.clock.at

    # --- sessions ---

    @initialize(kinds=st.lists(KIND, min_size=4, max_size=8))
    def two_workers_and_a_few_jobs(self, kinds: list[tuple[int, int, int]]) -> None:
        self.a_worker_joins()
        self.a_worker_joins()
        self.submit(kinds, alone=True)

    @precondition(lambda self: len(self.sessions) < SESSIONS_MAX)
    @rule()
    def a_worker_joins(self) -> None:
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

        def check(opened: Opened) -> None:
            self.sessions.append(opened.session)
            self.queues = [queue.key for queue in opened.queues]

        self.store.plan(OpenSession(new, auto_register=True), check)

    @precondition(lambda self: self.sessions)
    @rule(data=st.data(), confirmed=st.booleans(), alone=st.booleans())
    def a_session_is_lost(self, data: st.DataObject, *, confirmed: bool, alone: bool) -> None:
        session = self.leaving(data)
        self.store.plan(
            MoveSessions((session.key,), SessionState.ATTACHED, SessionState.DETACHED), equals(1), alone=False
        )
        self.store.plan(MoveSessions((session.key,), SessionState.DETACHED, SessionState.LOST), equals(1), alone=False)
        self.lose(self.model.held_by(session.key), session, confirmed=confirmed, alone=alone)

    @precondition(lambda self: self.sessions and self.leases)
    @rule(data=st.data(), confirmed=st.booleans(), alone=st.booleans())
    def a_worker_loses_tasks(self, data: st.DataObject, *, confirmed: bool, alone: bool) -> None:
        """Or one that it does not hold, or not any more: that must not touch the job."""
        session = data.draw(st.sampled_from(self.sessions))
        held = [key for each in self.sessions for key in self.model.held_by(each.key)]
        any_key = st.sampled_from(held or [0]) | st.sampled_from([lease.job_key for lease in self.leases])
        keys = data.draw(st.lists(any_key, min_size=1, max_size=2))
        self.lose(keys, session, confirmed=confirmed, alone=alone)

    def lose(self, keys: list[int], session: SessionRecord, *, confirmed: bool, alone: bool) -> None:
        held = dict.fromkeys(keys, session.key)
        seen = frozenset(held) if confirmed else frozenset()
        self.model.lose(held, seen, self.now)
        self.store.plan(LoseTasks(held, confirmed=seen), taken, alone=alone)

    @precondition(lambda self: self.sessions)
    @rule(data=st.data())
    def a_detached_session_is_given_nothing(self, data: st.DataObject) -> None:
        session = self.leaving(data)
        move = MoveSessions((session.key,), SessionState.ATTACHED, SessionState.DETACHED)
        want = Want(session.key, session.epoch, 5, 1, "worker", tuple((queue, 5) for queue in self.queues))

        self.store.plan(move, equals(1), alone=False)
        self.store.plan(_Claim([want]), equals([[]]))
        self.lose(self.model.held_by(session.key), session, confirmed=True, alone=True)

    def leaving(self, data: st.DataObject) -> SessionRecord:
        return self.sessions.pop(data.draw(st.integers(0, len(self.sessions) - 1)))

    # --- clients ---

    @rule(kinds=st.lists(KIND, min_size=1, max_size=4), alone=st.booleans())
    def submit(self, kinds: list[tuple[int, int, int]], *, alone: bool) -> None:
        new = []
        for queue, priority, max_attempts in kinds:
            self.job_ids.append(str(UUID(int=2**64 + len(self.job_ids))))
            job = new_job(self.job_ids[-1], self.queues[queue], priority=priority, max_attempts=max_attempts)
            self.submit_to_model(job)
            new.append(job)
        self.store.plan(
            SubmitJobs(ANYBODY, new, atomic=True), lambda answers: told_all(answers, Answer.OK), alone=alone
        )

    @rule(data=st.data(), same=st.booleans(), alone=st.booleans())
    def submit_again(self, data: st.DataObject, *, same: bool, alone: bool) -> None:
        """The same one is that job; another under its id is refused; after a delete it is a new job."""
        job_id = data.draw(st.sampled_from(self.job_ids))
        known = self.model.jobs.get(job_id)
        job = new_job(job_id, known.queue if known else self.queues[0], content=1 if same else 2)
        expected = self.submit_to_model(job)
        self.store.plan(
            SubmitJobs(ANYBODY, [job], atomic=False), lambda answers: told_all(answers, expected), alone=alone
        )

    def submit_to_model(self, job: NewJob) -> Answer:
        return self.model.submit(
            job.job_id,
            queue=job.queue_key,
            priority=job.priority,
            max_attempts=job.max_attempts,
            content=job.submit_digest,
            now=self.now,
        )

    @rule(data=st.data(), alone=st.booleans())
    def cancel(self, data: st.DataObject, *, alone: bool) -> None:
        job_id = data.draw(st.sampled_from(self.model.in_states(HELD_STATES) or self.job_ids))
        expected = self.model.cancel(job_id)
        self.store.plan(_CancelJob(ANYBODY, job_id, "why"), lambda answer: told(answer, expected), alone=alone)

    @rule(data=st.data(), alone=st.booleans())
    def cancel_or_delete_any(self, data: st.DataObject, *, alone: bool) -> None:
        """A delete that was decided on an older revision leaves the job alone: its caller reads it again."""
        job_id = data.draw(st.sampled_from(self.model.once_claimed() or self.job_ids))
        what = data.draw(st.sampled_from(("cancel", "delete", "delete, read before")))
        job = self.model.jobs.get(job_id)
        revision = len(job.events) if job else 1
        if what == "delete, read before" and job and job.state not in HELD_STATES:
            self.store.plan(_DeleteJob(ANYBODY, job_id, revision - 1), equals(expected=False), alone=alone)
            return
        expected = self.model.cancel(job_id) if what == "cancel" else self.model.delete(job_id)
        unit = _CancelJob(ANYBODY, job_id, "") if what == "cancel" else _DeleteJob(ANYBODY, job_id, revision)
        self.store.plan(unit, lambda answer: told(answer, expected), alone=alone)

    # --- workers ---

    @precondition(lambda self: self.sessions)
    @rule(
        data=st.data(),
        credit=st.integers(1, 5),
        limits=st.tuples(st.integers(0, 4), st.integers(1, 4)),
        other_first=st.booleans(),
        started=st.integers(0, 3),
    )
    def claim(
        self, data: st.DataObject, credit: int, limits: tuple[int, int], *, other_first: bool, started: int
    ) -> None:
        """Whatever else is in the group, the claim comes after it. The worker starts the first few tasks at once."""
        session = data.draw(st.sampled_from(self.sessions))
        queues = tuple(zip(self.queues, limits, strict=True))[:: -1 if other_first else 1]
        self.nonce += 1
        expected = self.model.claim(session.key, credit, queues)
        want = Want(session.key, session.epoch, credit, self.nonce, "worker", queues)
        won: list[list[list[Claimed]]] = []

        self.store.plan(_Claim([want]), won.append)

        [claimed] = won[0]
        assert [(job.job_id, job.attempt, job.lease.fence) for job in claimed] == [
            (job.job_id, job.attempt + 1, job.fence) for job in expected
        ]
        for model, job in zip(expected, claimed, strict=True):
            self.model.keys[job.lease.job_key], model.newest = model, job.lease
            self.leases.append(job.lease)
        self.report([(job.lease, Word.ACCEPTED, 2) for job in claimed[:started]], alone=False)

    @precondition(lambda self: self.model.leased())
    @rule(data=st.data(), words=st.lists(WORDS, min_size=1, max_size=3), alone=st.booleans())
    def a_worker_tells_of_its_task(self, data: st.DataObject, words: list[Word], *, alone: bool) -> None:
        """It holds the task, or did until its session was lost."""
        lease = data.draw(st.sampled_from(self.model.leased()))
        self.report([(lease, word, 2) for word in words], alone=alone)

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), alone=st.booleans())
    def workers_tell_anything(self, data: st.DataObject, *, alone: bool) -> None:
        """Whatever they say, in whatever order, on tokens old and new."""
        said = st.tuples(st.sampled_from(self.leases), WORDS, st.integers(2, 3))
        self.report(data.draw(st.lists(said, min_size=1, max_size=4)), alone=alone)

    def report(self, said: list[tuple[Lease, Word, int]], *, alone: bool) -> None:
        reports = [told_by(word, seq, lease, variant) for seq, (lease, word, variant) in enumerate(said, 1)]
        answers = [self.model.report(lease, word, digest_of(word, variant), self.now) for lease, word, variant in said]
        refused = {place: answer.value for place, answer in enumerate(answers) if answer is not Answer.OK}

        def check(judged: Judged) -> None:
            assert {place: error.reason for place, error in judged.refused.items()} == refused

        self.store.plan(JudgeReports(reports), check, alone=alone)

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), alone=st.booleans())
    def deliveries_or_graces_run_out(self, data: st.DataObject, *, alone: bool) -> None:
        some = st.sampled_from(self.model.leased() or self.leases) | st.sampled_from(self.leases)
        late = data.draw(st.lists(some, min_size=1, max_size=3))
        if data.draw(st.booleans()):
            self.model.give_back(late, self.now)
            self.store.plan(ReturnTasks(late), taken, alone=alone)
        else:
            self.model.stop(late)
            self.store.plan(StopTasks(late), taken, alone=alone)

    @rule(microseconds=st.integers(1, 3))
    def time_passes(self, microseconds: int) -> None:
        self.store.run_planned()
        self.store.clock.at += microseconds

    # --- what must hold ---

    @invariant()
    def the_store_is_where_the_model_is(self) -> None:
        if not self.store.planned:
            assert self.store.jobs(COLUMNS) == {job.job_id: shown(job) for job in self.model.jobs.values()}
            self.check_events()

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
            for job in self.model.terminal():
                view = self.store.read(job.job_id)
                assert (view.result.content if view.result else None) == job.result
                assert (view.failure.kind if view.failure else 0) == job.failure
        finally:
            self.store.close()


@pytest.mark.timeout(120)
def test_in_whatever_order_things_happen_the_store_is_where_the_design_says() -> None:
    run_state_machine_as_test(
        Lifecycle, settings=settings(max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None)
    )


def new_job(job_id: str, queue: int, *, priority: int = 0, max_attempts: int = 3, content: int = 1) -> NewJob:
    return NewJob(job_id, 1, queue, priority=priority, max_attempts=max_attempts, submit_digest=content)


def shown(job: ModelJob) -> tuple[object, ...]:
    """The columns of a job's row as the model has them."""
    held = job.session if job.state in HELD_STATES else None
    counters = (job.state, job.attempt, job.fence, job.losses, job.lease, held, len(job.events), job.item_errors)
    return (
        *counters,
        -job.priority,
        job.max_attempts,
        job.failure,
        job.ready_at if job.state is JobState.PENDING else None,
    )


def told(answer: object, expected: Answer) -> None:
    assert (answer.reason if isinstance(answer, ApiError) else "OK") == expected.value


def told_all(answers: object, expected: Answer) -> None:
    assert isinstance(answers, list)
    for answer in answers:
        told(answer, expected)
