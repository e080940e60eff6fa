"""Who is given which work: one claim in flight for all hungry sessions, asked for only where there may be jobs."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Protocol

import structlog

from jobhall.errors import ApiError
from jobhall_server.hall.store import Claimed, Group, Store, Unit, Want

log = structlog.get_logger(__name__)

CREDIT_PER_CLAIM_MAX = 1000
"""Jobs that one session is given by one claim."""
JOBS_PER_CLAIM_MAX = 2000
"""Jobs that one claim leases in all, so that a group stays short; who comes too late is first the next time."""
_CUT_SHORT_BYTES = 4 * 1024 * 1024
"""A claim with so many bytes of parameters may have been cut short by the store, though the queue holds more."""


class Seat(Protocol):
    """An attached session as the dispatcher sees it."""

    @property
    def session_key(self) -> int:
        """Its key in the store."""

    @property
    def epoch(self) -> int:
        """The epoch of its attachment; a claim for another one is not served."""

    @property
    def worker_name(self) -> str:
        """The worker's name, kept with the lease."""

    @property
    def accept_us(self) -> int | None:
        """Of a seat without a stream: how long what it is given may wait to be accepted."""

    def free(self) -> int:
        """How many more tasks it wants."""

    def free_by_type(self) -> dict[str, int]:
        """The same for each type name that has a number of its own."""

    def serves(self) -> dict[int, str]:
        """The queues that it serves, each with the name under which it does."""

    def deliver(self, claimed: Sequence[Claimed]) -> None:
        """Take the jobs that a claim won for it, or give back what it no longer wants."""


class _Claim(Unit[list[list[Claimed]]]):
    after_save = True

    def __init__(self, wants: Sequence[Want]) -> None:
        self._wants = wants
        self.session_keys = tuple(want.session_key for want in wants)

    def decide(self, group: Group) -> list[list[Claimed]]:
        return group.claim(self._wants)


class Dispatcher:
    """Matches free credit with queues that may have jobs; call `nudge` whenever either may have changed."""

    def __init__(
        self, store: Store, seats: Callable[[], Iterable[Seat]], queue_keys: Callable[[], Iterable[int]]
    ) -> None:
        self._store = store
        self._seats = seats
        self._queue_keys = queue_keys
        self._fresh: set[int] = set()
        self._turn = 0
        self._in_flight: asyncio.Task[None] | None = None

    def nudge(self, queue_keys: Iterable[int] = ()) -> None:
        """These queues may have jobs (none named: only credit may have come free); claim if somebody is hungry.

        The claim is queued at once: nudged right after a submit was queued, it runs in the same commit group.
        """
        self._fresh.update(queue_keys)
        if self._in_flight is None and self._fresh:
            wants, seats = self._wants()
            if wants:
                self._fresh -= {queue_key for want in wants for queue_key, _ in want.queues}
                claim = self._store.run(_Claim(wants))
                self._in_flight = asyncio.ensure_future(self._hand_out(claim, wants, seats))

    def poll(self) -> None:
        """Look at every queue again: the net under missed hints and under other processes."""
        self.nudge(self._queue_keys())

    @property
    def claiming(self) -> bool:
        """Whether a claim is in flight."""
        return self._in_flight is not None

    async def settle(self, *, rounds: int | None = None) -> None:
        """Wait until no claim is in flight; or, since under load one always is, for so many of them: after two, every
        seat that was there had its turn.
        """
        while self._in_flight is not None and rounds != 0:
            rounds = None if rounds is None else rounds - 1
            await asyncio.wait({self._in_flight})

    def _wants(self) -> tuple[list[Want], list[Seat]]:
        wants, seats = [], []
        left = JOBS_PER_CLAIM_MAX
        waiting = [seat for seat in self._seats() if seat.free()]
        first = self._turn % len(waiting) if waiting else 0
        for seat in waiting[first:] + waiting[:first]:
            credit = min(seat.free(), CREDIT_PER_CLAIM_MAX, left)
            queues = self._turns(seat, credit) if credit else ()
            if queues:
                nonce = secrets.randbits(62) + 1
                wants.append(
                    Want(seat.session_key, seat.epoch, credit, nonce, seat.worker_name, queues, seat.accept_us)
                )
                seats.append(seat)
                left -= credit
        return wants, seats

    def _turns(self, seat: Seat, credit: int) -> tuple[tuple[int, int], ...]:
        """The fresh queues that the seat serves, another one first each time, each with what it may give."""
        left = seat.free_by_type()
        queues = []
        for queue_key, name in seat.serves().items():
            if queue_key in self._fresh:
                limit = min(credit, left.get(name, credit))
                if limit > 0:
                    queues.append((queue_key, limit))
                    # A type with a number of its own, in several namespaces: one queue a claim may use it up.
                    if name in left:
                        left[name] = 0
        self._turn += 1
        first = self._turn % len(queues) if queues else 0
        return tuple(queues[first:] + queues[:first])

    async def _hand_out(
        self, claim: Awaitable[list[list[Claimed]]], wants: Sequence[Want], seats: Sequence[Seat]
    ) -> None:
        try:
            won = await claim
        except ApiError as error:
            # Nothing was claimed; the next poll asks again.
            log.debug("claim_waits", error=str(error))
            won = [[] for _ in wants]
        finally:
            self._in_flight = None
        for want, seat, claimed in zip(wants, seats, won, strict=True):
            self._fresh |= _unspent(want, claimed)
            if claimed:
                seat.deliver(claimed)
        self.nudge()


def _unspent(want: Want, claimed: Sequence[Claimed]) -> set[int]:
    """The queues that may hold more: those that gave all they were asked for, or came too late for the credit."""
    given: dict[int, int] = {}
    size = 0
    for job in claimed:
        given[job.queue_key] = given.get(job.queue_key, 0) + 1
        size += sum(payload.size_bytes for payload in (job.parameters, job.checkpoint) if payload is not None)
    exhausted = len(claimed) >= want.credit or size >= _CUT_SHORT_BYTES
    return {key for key, limit in want.queues if exhausted or given.get(key, 0) >= limit}
