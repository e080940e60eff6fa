"""Workers without a stream: they claim, report and say that they live by single calls, each of which renews them."""

from __future__ import annotations

import asyncio
import json
import random
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from jobhall.errors import ApiError, DrainingError, JobNotFoundError
from jobhall.ids import new_id
from jobhall.states import JobState
from jobhall_server.domain.access import Principal
from jobhall_server.domain.job import Lease
from jobhall_server.domain.progress import Progress
from jobhall_server.domain.session import NewSession, SessionRecord
from jobhall_server.domain.timing import Pace
from jobhall_server.hall.frames import Assignment, Cancel, LogsBody, Report, ReportKind
from jobhall_server.hall.held import cancel_of, paced
from jobhall_server.hall.leases import ReturnTasks
from jobhall_server.hall.outbox import assignment_bytes, cancels_within
from jobhall_server.hall.registry import Served
from jobhall_server.hall.reports import OUTCOMES
from jobhall_server.hall.store import Claimed, Want
from jobhall_server.hall.unary_units import (
    AcceptTasks,
    BeatSession,
    ClaimJobs,
    OpenUnarySession,
    RenewUnarySession,
    ReportSession,
)
from jobhall_server.hall.views import HeldRow
from jobhall_server.hall.watch_filter import WatchFilter

if TYPE_CHECKING:
    from jobhall_server.hall.hall import Hall

log = structlog.get_logger(__name__)

_CANCELS_BYTES_MAX = 1024 * 1024
"""Of cancels in one answer."""
_PACES_MAX = 10_000
"""Tasks whose pace is remembered between two reports."""
_RENEWED_PER_TTL = 3
"""A claim that waits for long renews its session so often within its time to live."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What ClaimTasks asks for, checked; `job_ids` narrow the claim to those jobs, `lease_us` is the session's time
    to live (None: as it was, or the server's default).
    """

    session_id: str = ""
    namespaces: tuple[str, ...] = ()
    worker_name: str = ""
    job_types: tuple[str, ...] = ()
    job_ids: tuple[str, ...] = ()
    tasks_max: int = 1
    timeout_seconds: float = 0.0
    lease_us: int | None = None
    accept: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    runtime: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Given:
    """What ClaimTasks answers; times are microseconds UTC."""

    session_id: str
    tasks: Sequence[Assignment]
    expires_at: int | None


@dataclass(frozen=True, slots=True)
class Reported:
    """What ReportTasks answers: reports that were refused, and the tokens of progress that was dropped."""

    refused: Sequence[tuple[Report, ApiError]]
    bad_progress: Sequence[bytes]
    cancels: Sequence[Cancel]
    expires_at: int | None


@dataclass(frozen=True, slots=True)
class Beaten:
    """What Heartbeat answers."""

    lost: Sequence[bytes]
    cancels: Sequence[Cancel]
    expires_at: int | None


class _Seat:
    """A waiting ClaimTasks as the dispatcher sees it."""

    def __init__(self, unary: Unary, session: SessionRecord, asked: Asked) -> None:
        self.session_key = session.key
        self.epoch = session.epoch
        self.worker_name = asked.worker_name
        self.accept_us = unary.accept_us
        self.given: asyncio.Future[Sequence[Claimed]] = asyncio.get_running_loop().create_future()
        self._unary = unary
        self._tasks_max = asked.tasks_max
        self._served = unary.served(asked)

    def free(self) -> int:
        return 0 if self.given.done() else self._tasks_max

    def free_by_type(self) -> dict[str, int]:
        return {}

    def serves(self) -> dict[int, str]:
        return self._served.names()

    def deliver(self, claimed: Sequence[Claimed]) -> None:
        if self.given.done():
            self._unary.give_back_soon([job.lease for job in claimed])
        else:
            self.given.set_result(claimed)


class Unary:
    """The unary twins of the worker stream, for one process."""

    def __init__(self, hall: Hall, *, lease_seconds: float, auto_register: bool) -> None:
        self._hall = hall
        self._lease_us = round(lease_seconds * 1e6)
        self._auto_register = auto_register
        self._seats: set[_Seat] = set()
        self._paces: dict[bytes, Pace] = {}

    @property
    def accept_us(self) -> int:
        """How long a task may wait to be named before it goes back, at no cost."""
        return round(self._hall.settings.stream.accept_seconds * 1e6)

    def seats(self) -> Iterable[_Seat]:
        """Those who wait, for the dispatcher."""
        return tuple(self._seats)

    def served(self, asked: Asked) -> Served:
        """The queues that the claim is for."""
        return Served(self._hall.registry, namespaces=asked.namespaces, job_types=asked.job_types)

    async def claim(self, principal: Principal, asked: Asked, *, bytes_max: int) -> Given:
        """Claim tasks, waiting for the first one. What is more than `bytes_max` together goes back at once.

        JobNotFoundError of `job_ids`, SessionExpiredError, WorkerDrainedError, DrainingError.
        """
        if self._hall.draining:
            raise DrainingError("this server is stopping; ask another replica, or again in a moment")
        session = await self._session(asked)
        if asked.job_ids:
            claimed = await self._claim_named(principal, asked, session)
        else:
            claimed = await self._claim_next(asked, session)
        tasks = [self._assignment(job) for job in claimed]
        kept = _how_many(tasks, bytes_max)
        leases = [task.claimed.lease for task in tasks]
        if kept < len(tasks):
            await self._give_back(leases[kept:])
        session = await self._hall.store.run(AcceptTasks(session.session_id, leases[:kept] if asked.accept else ()))
        return Given(session.session_id, tasks[:kept], _expires_at(session))

    async def report(self, session_id: str, reports: Sequence[Report]) -> Reported:
        """Take reports of a session, which the call renews, or of none: then their tokens alone tell whose they are.

        SessionExpiredError: nothing was taken.
        """
        sound = [self._with_pace(report) for report in reports if not _faulty(report)]
        bad = [report.token for report in reports if _faulty(report)]
        checked = await self._hall.result_checks.checked(sound)
        unit = ReportSession(session_id, checked.reports, chance=random.random())
        judged, session = await self._hall.store.run(unit)
        checked.tell(judged)
        self._hall.dispatcher.nudge(judged.ready_queues)
        refused = []
        for place, error in judged.refused.items():
            if sound[place].kind is ReportKind.PROGRESS:
                bad.append(sound[place].token)
            else:
                refused.append((sound[place], error))
        held = await self._held(session)
        self._publish([report for place, report in enumerate(sound) if place not in judged.refused], held)
        return Reported(refused, bad, self._cancels(held), _expires_at(session))

    async def beat(self, session_id: str, tokens: Sequence[bytes]) -> Beaten:
        """Say that a session lives, and what it holds; SessionExpiredError."""
        unit = BeatSession(
            session_id, tokens, fresh_us=self.accept_us, losses_max=self._hall.settings.worker_losses_max
        )
        lost, ready, session = await self._hall.store.run(unit)
        self._hall.dispatcher.nudge(ready)
        return Beaten(sorted(lost), self._cancels(await self._held(session)), _expires_at(session))

    def give_back_soon(self, leases: Sequence[Lease]) -> None:
        """Jobs that came for a call that is over."""
        _ = self._hall.spawn(self._give_back(leases), "give back a claim")

    # --- claiming ---

    async def _session(self, asked: Asked) -> SessionRecord:
        if asked.session_id:
            return await self._hall.store.run(RenewUnarySession(asked.session_id, ttl_us=asked.lease_us))
        new = NewSession(
            session_id=new_id(),
            # Nobody ever takes it over by a stream.
            resume_digest=secrets.token_hex(32),
            worker_name=asked.worker_name,
            namespaces=asked.namespaces,
            job_types=asked.job_types,
            labels=json.dumps(dict(asked.labels), sort_keys=True),
            runtime=json.dumps(dict(asked.runtime), sort_keys=True),
            tasks_max=asked.tasks_max,
            replica_key=self._hall.store.replica_key,
            connection=0,
            ttl_us=asked.lease_us or self._lease_us,
        )
        opened = await self._hall.store.run(OpenUnarySession(new, auto_register=self._auto_register))
        self._hall.registry.add_queues(opened.queues)
        await self._hall.registry.refresh()
        log.info("worker_joined", worker=new.worker_name, session=new.session_id, unary=True)
        return opened.session

    async def _claim_next(self, asked: Asked, session: SessionRecord) -> Sequence[Claimed]:
        seat = _Seat(self, session, asked)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + asked.timeout_seconds
        renewed_every = (session.ttl_us or self._lease_us) / 1e6 / _RENEWED_PER_TTL
        self._seats.add(seat)
        try:
            self._hall.dispatcher.nudge(seat.serves())
            await self._hall.dispatcher.settle(rounds=2)
            while not seat.given.done() and not self._hall.draining and (left := deadline - loop.time()) > 0:
                await asyncio.wait({seat.given}, timeout=min(left, renewed_every))
                if not seat.given.done():
                    await self._hall.store.run(RenewUnarySession(session.session_id))
            return seat.given.result() if seat.given.done() else ()
        except BaseException:
            # The caller is gone, or its session is: what came for it in the very moment goes back.
            if seat.given.done() and not seat.given.cancelled():
                self.give_back_soon([job.lease for job in seat.given.result()])
            raise
        finally:
            self._seats.discard(seat)
            seat.given.cancel()

    async def _claim_named(self, principal: Principal, asked: Asked, session: SessionRecord) -> Sequence[Claimed]:
        ids = tuple(dict.fromkeys(asked.job_ids))
        loop = asyncio.get_running_loop()
        deadline = loop.time() + asked.timeout_seconds
        with self._hall.feed.subscribe(principal, WatchFilter(job_ids=frozenset(ids))) as changes:
            while True:
                changes.forget()
                jobs = await self._hall.store.reads.jobs_by_id(principal, ids)
                if len(jobs) < len(ids):
                    found = {job.job_id for job in jobs}
                    raise JobNotFoundError(next(job_id for job_id in ids if job_id not in found))
                self._hall.feed.know({job.job_id: job.key for job in jobs})
                keys = tuple(job.key for job in jobs if job.state is JobState.PENDING)
                if keys and (claimed := await self._hall.store.run(ClaimJobs(self._want(asked, session, keys)))):
                    return claimed
                ended = all(job.state.terminal for job in jobs)
                if ended or self._hall.draining or (left := deadline - loop.time()) <= 0:
                    return ()
                # One that waits and is not given may be of a paused type, whose end no job tells.
                wait = min(left, 1.0 if keys else (session.ttl_us or self._lease_us) / 1e6 / _RENEWED_PER_TTL)
                try:
                    async with asyncio.timeout(wait):
                        await changes.changed()
                except TimeoutError:
                    await self._hall.store.run(RenewUnarySession(session.session_id))

    def _want(self, asked: Asked, session: SessionRecord, job_keys: tuple[int, ...]) -> Want:
        return Want(
            session_key=session.key,
            epoch=session.epoch,
            credit=asked.tasks_max,
            nonce=secrets.randbits(62) + 1,
            worker=asked.worker_name,
            queues=tuple((key, asked.tasks_max) for key in self._hall.registry.open_queues()),
            accept_us=self.accept_us,
            job_keys=job_keys,
        )

    def _assignment(self, job: Claimed) -> Assignment:
        queue = self._hall.registry.queue(job.queue_key)
        return Assignment(job, queue.namespace, queue.job_type, job.lease.token())

    async def _give_back(self, leases: Sequence[Lease]) -> None:
        ready = await self._hall.store.run(ReturnTasks(leases))
        self._hall.dispatcher.nudge(ready)

    # --- reporting ---

    async def _held(self, session: SessionRecord | None) -> list[HeldRow]:
        return await self._hall.store.reads.held([session.key]) if session is not None else []

    def _cancels(self, held: Sequence[HeldRow]) -> list[Cancel]:
        """Those that the answer holds; what is stopped makes room for the others."""
        now_us = self._hall.clock.now_us()
        cancels = (cancel_of(row, now_us) for row in held if row.state is JobState.CANCELLING)
        return cancels_within(_CANCELS_BYTES_MAX, cancels)

    def _with_pace(self, report: Report) -> Report:
        if report.kind in OUTCOMES:
            self._paces.pop(report.token, None)
        if not isinstance(report.body, Progress):
            return report
        progress = paced(self._paces, report.token, report.body)
        if len(self._paces) > _PACES_MAX:
            # The oldest: its task has likely ended without a word.
            del self._paces[next(iter(self._paces))]
        return report._replace(body=progress)

    def _publish(self, reports: Sequence[Report], held: Sequence[HeldRow]) -> None:
        rows = {row.lease.token(): row for row in held}
        feed = self._hall.feed
        for report in reports:
            row = rows.get(report.token)
            if row is None:
                continue
            queue, cancelling = self._hall.registry.queue(row.queue_key), row.state is JobState.CANCELLING
            if isinstance(report.body, Progress):
                feed.publish_progress(row, queue, report.body, cancelling=cancelling)
            elif isinstance(report.body, LogsBody) and feed.logs_wanted:
                feed.publish_logs(row, queue, report.body, at=self._hall.clock.now_us(), cancelling=cancelling)


def _expires_at(session: SessionRecord | None) -> int | None:
    """When an unattached unary session is over unless it is heard of; None where a stream, or the server, decides, and
    when it has left.
    """
    if session is None or not session.state.alive or session.ttl_us is None or session.detached_at is None:
        return None
    return session.detached_at + session.ttl_us


def _how_many(tasks: Sequence[Assignment], bytes_max: int) -> int:
    size = 0
    for count, task in enumerate(tasks):
        size += assignment_bytes(task)
        if size > bytes_max and count:
            return count
    return len(tasks)


def _faulty(report: Report) -> bool:
    return isinstance(report.body, Progress) and report.body.fault() is not None
