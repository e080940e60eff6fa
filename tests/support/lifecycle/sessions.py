"""The part of the lifecycle machine that is about sessions. Each rule plans a unit and tells the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from jobhall.errors import ApiError
from jobhall.limits import WORKER_LOSSES_MAX
from jobhall_server.domain.job import Lease
from jobhall_server.domain.session import NewSession, SessionRecord, SessionState
from jobhall_server.hall.frames import ListedTask
from jobhall_server.hall.leases import LoseTasks
from jobhall_server.hall.sessions import CloseDrained, DetachSession, DrainSession, ExpireSessions
from jobhall_server.hall.takeover import Opened, OpenSession
from jobhall_server.hall.unary_units import BeatSession, OpenUnarySession
from jobhall_server.hall.unary_units import Opened as UnaryOpened
from tests.support.lifecycle.model import Model
from tests.support.lifecycle.words import Answer
from tests.support.planned_units import PlannedStore, equals, taken

TYPES = ("resize", "zip")
SESSIONS_MAX = 4
FRESH_US = 2
UNARY_TTL_US = 4
RELEASED_BY_SERVER = 2
CHANCES = st.sampled_from((0.0, 1.0))


@dataclass(slots=True)
class Worker:
    """A living session, as the machine expects it to be."""

    new: NewSession
    key: int
    epoch: int
    attached: bool
    heard_at: int = 0
    draining: bool = False

    @property
    def unary(self) -> bool:
        return self.new.ttl_us is not None

    @property
    def hungry(self) -> bool:
        """Whether a claim for it is served."""
        return (self.attached or self.unary) and not self.draining


class Sessions(RuleBasedStateMachine):
    """`alone` runs what is planned; else it waits and shares a group."""

    engine: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.store = PlannedStore(self.engine)
        self.nonce = 0
        self.queues: list[int] = []
        self.workers: list[Worker] = []
        self.over: list[Worker] = []
        self.leases: list[Lease] = []

    @property
    def now(self) -> int:
        return self.store.clock.at

    @property
    def streams(self) -> list[Worker]:
        return [worker for worker in self.workers if not worker.unary]

    def introduction(self, name: str) -> NewSession:
        self.nonce += 1
        return NewSession(
            session_id=str(UUID(int=self.nonce)),
            resume_digest="its own",
            worker_name=name,
            namespaces=("default",),
            job_types=TYPES,
            labels="{}",
            runtime="{}",
            tasks_max=10,
            replica_key=self.store.replica_key,
            connection=1,
        )

    @property
    def cron(self) -> list[Worker]:
        return [worker for worker in self.workers if worker.unary]

    # --- sessions of streams ---

    @precondition(lambda self: len(self.workers) < SESSIONS_MAX)
    @rule(data=st.data())
    def a_worker_joins(self, data: st.DataObject) -> None:
        """With what it holds, perhaps, of a session that is over."""
        self.join(self.listing(data))

    def join(self, listed: Mapping[Lease, bool]) -> None:
        self.store.run_planned()
        new = self.introduction(f"worker-{self.nonce}")

        def check(opened: Opened) -> None:
            assert not opened.drained
            self.workers.append(Worker(new, opened.session.key, opened.session.epoch, attached=True))
            self.queues = [queue.key for queue in opened.queues]
            told, _ = self.model.hello(opened.session.key, listed, self.now, known=False)
            assert [judged.disposition for judged in opened.listed] == told

        self.store.plan(OpenSession(new, auto_register=True, held=tasks_of(listed)), check)

    @precondition(lambda self: self.streams)
    @rule(data=st.data(), alone=st.booleans())
    def a_worker_comes_back(self, data: st.DataObject, *, alone: bool) -> None:
        """On a new stream, also while the old one is still there: it lists what it holds, or what it should not."""
        worker = data.draw(st.sampled_from(self.streams))
        listed = self.listing(data)
        worker.new = replace(worker.new, connection=worker.new.connection + 1)
        worker.epoch += 1
        worker.attached = True
        told, forgotten = self.model.hello(worker.key, listed, self.now, known=True)
        drained = worker.draining and not self.model.held_by(worker.key)
        if drained:
            self.forget(worker)
        epoch = worker.epoch

        def check(opened: Opened) -> None:
            assert [judged.disposition for judged in opened.listed] == told
            assert (opened.not_brought_back, opened.drained, opened.session.epoch) == (forgotten, drained, epoch)

        self.store.plan(OpenSession(worker.new, auto_register=True, held=tasks_of(listed)), check, alone=alone)

    @precondition(lambda self: self.streams or self.over)
    @rule(data=st.data(), alone=st.booleans())
    def a_hello_comes_that_must_not_be_taken(self, data: st.DataObject, *, alone: bool) -> None:
        """Held up on its way, with another's secret, or of a session that is over: what it lists is not touched."""
        worker = data.draw(st.sampled_from([*self.streams, *self.over]))
        new = replace(worker.new, connection=worker.new.connection + 1)
        refused = Answer.SESSION_EXPIRED
        if worker in self.over:
            if worker.draining and not worker.unary:
                refused = Answer.WORKER_DRAINED
        elif data.draw(st.booleans()):
            new, refused = worker.new, Answer.SESSION_SUPERSEDED
        else:
            new = replace(new, resume_digest="another's")
        hello = OpenSession(new, auto_register=True, held=tasks_of(self.listing(data)))
        self.store.plan(hello, refused_with(refused), alone=alone)

    def listing(self, data: st.DataObject) -> dict[Lease, bool]:
        """Tokens that count, and some that do not, each with whether its worker has started it."""
        if not self.leases:
            return {}
        tokens = st.sampled_from(self.model.leased() or self.leases) | st.sampled_from(self.leases)
        listed: dict[Lease, bool] = data.draw(st.dictionaries(tokens, st.booleans(), max_size=4))
        return listed

    @precondition(lambda self: self.streams)
    @rule(data=st.data(), close=st.booleans(), alone=st.booleans())
    def a_stream_ends(self, data: st.DataObject, *, close: bool, alone: bool) -> None:
        """`close`: its worker leaves for good, if nothing is left in its name."""
        worker = data.draw(st.sampled_from([each for each in self.streams if each.attached] or self.streams))
        move = DetachSession(worker.key, worker.epoch, close=close)
        closed = close and not self.model.held_by(worker.key)
        expected = None if not worker.attached else SessionState.CLOSED if closed else SessionState.DETACHED
        if expected is SessionState.CLOSED:
            self.forget(worker)
        elif expected is not None:
            worker.epoch += 1
            worker.attached = False
            worker.heard_at = self.now
        self.store.plan(move, equals(expected), alone=alone)

    @precondition(lambda self: self.workers)
    @rule(data=st.data(), late=st.booleans(), confirmed=st.booleans(), alone=st.booleans())
    def a_session_expires(self, data: st.DataObject, *, late: bool, confirmed: bool, alone: bool) -> None:
        """If its time to live is over: what is attached, or was heard of since, is left alone."""
        worker = data.draw(st.sampled_from(self.workers))
        ttl_us = worker.new.ttl_us or 1
        if late:
            self.store.run_planned()
            self.store.clock.at += ttl_us
        expired = not worker.attached and worker.heard_at + ttl_us <= self.now
        self.store.plan(ExpireSessions((worker.key,), ttl_us=1), equals(int(expired)), alone=False)
        if expired:
            self.forget(worker)
            self.lose(self.model.held_by(worker.key), worker, confirmed=confirmed, alone=alone)

    @precondition(lambda self: self.workers and self.leases)
    @rule(data=st.data(), confirmed=st.booleans(), alone=st.booleans())
    def a_worker_loses_tasks(self, data: st.DataObject, *, confirmed: bool, alone: bool) -> None:
        """Or one that it does not hold, or not any more: that must not touch the job."""
        holders = [each for each in self.workers if self.model.held_by(each.key)]
        worker = data.draw(st.sampled_from(holders or self.workers))
        known = st.sampled_from([lease.job_key for lease in self.leases])
        keys = data.draw(st.lists(known, min_size=1, max_size=2)) + self.model.held_by(worker.key)[:2]
        self.lose(keys, worker, confirmed=confirmed, alone=alone)

    def lose(self, keys: Sequence[int], worker: Worker, *, confirmed: bool, alone: bool) -> None:
        held = dict.fromkeys(keys, worker.key)
        seen = frozenset(held) if confirmed else frozenset()
        self.model.lose(held, seen, self.now)
        self.store.plan(LoseTasks(held, confirmed=seen), taken, alone=alone)

    # --- leaving ---

    @precondition(lambda self: self.workers)
    @rule(data=st.data(), after=st.integers(0, 3), alone=st.booleans())
    def a_worker_is_drained(self, data: st.DataObject, after: int, *, alone: bool) -> None:
        worker = data.draw(st.sampled_from(self.workers))
        worker.draining = True
        if not worker.attached and not self.model.held_by(worker.key):
            self.forget(worker)
        drain = DrainSession(worker.new.session_id, drain_at=self.now + after)
        self.store.plan(drain, taken, alone=alone)
        if data.draw(st.booleans()):
            self.store.run_planned()
            self.store.clock.at += after
            self.a_drain_is_over(worker, chance=data.draw(CHANCES), alone=alone)

    def a_drain_is_over(self, worker: Worker, *, chance: float, alone: bool) -> None:
        """What it holds is taken from it; one that had left already is let be."""
        there = worker in self.workers
        if there:
            self.model.empty(worker.key, self.now, chance, digest=RELEASED_BY_SERVER)
            self.forget(worker)
        self.store.plan(
            CloseDrained((worker.key,), chance=chance), lambda emptied: same(len(emptied), int(there)), alone=alone
        )

    def forget(self, worker: Worker) -> None:
        self.workers.remove(worker)
        self.over.append(worker)

    # --- sessions without a stream ---

    @precondition(lambda self: len(self.workers) < SESSIONS_MAX)
    @rule()
    def a_unary_worker_begins(self) -> None:
        self.store.run_planned()
        new = replace(self.introduction("cron"), ttl_us=UNARY_TTL_US, connection=0)

        def check(opened: UnaryOpened) -> None:
            session = opened.session
            self.workers.append(Worker(new, session.key, session.epoch, attached=False, heard_at=self.now))

        self.store.plan(OpenUnarySession(new, auto_register=True), check)

    @precondition(lambda self: self.cron)
    @rule(data=st.data(), late=st.booleans(), alone=st.booleans())
    def a_unary_worker_beats(self, data: st.DataObject, *, late: bool, alone: bool) -> None:
        """What it does not list, and began a while ago, is lost; what it lists and does not hold, it is told."""
        if late:
            self.store.run_planned()
            self.store.clock.at += FRESH_US
        worker = data.draw(st.sampled_from(self.cron))
        listed = {lease.token() for lease in self.listing(data)} if data.draw(st.booleans()) else set()
        held = {}
        for key in self.model.held_by(worker.key):
            job = self.model.keys[key]
            assert job.newest is not None
            fresh = job.started_at is not None and job.started_at > self.now - FRESH_US
            held[key] = job.newest.token() in listed or fresh or job.state.name == "CLAIMED"
        tokens = {key: self.model.keys[key].newest for key in held}
        kept = {token.token() for key, token in tokens.items() if held[key] and token}
        self.model.lose({key: worker.key for key, stays in held.items() if not stays}, held, self.now)
        worker.heard_at = self.now
        left = worker.draining and not worker.attached and not self.model.held_by(worker.key)
        if left:
            self.forget(worker)

        def check(beaten: tuple[set[bytes], set[int], SessionRecord]) -> None:
            assert beaten[0] == listed - kept
            assert beaten[2].state.alive is not left

        unit = BeatSession(worker.new.session_id, [*listed], fresh_us=FRESH_US, losses_max=WORKER_LOSSES_MAX)
        self.store.plan(unit, check, alone=alone)


def tasks_of(listed: Mapping[Lease, bool]) -> list[ListedTask]:
    return [ListedTask(lease.token(), started) for lease, started in listed.items()]


def refused_with(expected: Answer) -> Callable[[object], None]:
    def check(answer: object) -> None:
        assert isinstance(answer, ApiError)
        assert answer.reason == expected.value

    return check


def same(one: object, other: object) -> None:
    assert one == other
