"""Once a second the streams of this process are compared with what the database says that their sessions hold."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING

import structlog

from jobhall.errors import DrainingError, SessionSupersededError
from jobhall_server.hall.repairs import Repair
from jobhall_server.hall.views import HeldRow

if TYPE_CHECKING:
    from jobhall_server.hall.connection import Connection
    from jobhall_server.hall.hall import Hall

log = structlog.get_logger(__name__)


EVERYBODY_EACH = 10
"""So many passes; in between a session whose tasks are all younger than a pass is left alone: they come and go, and
reading them all costs as much as running them.
"""
SHARE = 20
"""A pass over very many tasks is followed by a pause so many times as long."""


class Reconciliation:
    """That is how a cancel, a claim or a takeover elsewhere reaches a stream, and how a claim is found whose answer
    never came.
    """

    def __init__(self, hall: Hall) -> None:
        self._hall = hall
        self._passes = 0
        self._not_before = -math.inf

    async def look(self) -> None:
        """One pass, unless the one before was long."""
        began = self._hall.clock.monotonic()
        if began >= self._not_before:
            await self._compare()
            ended = self._hall.clock.monotonic()
            self._not_before = ended + SHARE * (ended - began)

    async def _compare(self) -> None:
        hall, everybody = self._hall, self._passes % EVERYBODY_EACH == 0
        self._passes += 1
        streams = {
            key: connection
            for key, connection in hall.workers.attached().items()
            if connection.machine.holdings.mark(connection.machine.delivery) or everybody
        }
        if not streams:
            return
        # What is delivered from here on may not be in what is read.
        deliveries = {key: connection.machine.delivery for key, connection in streams.items()}
        held: defaultdict[int, dict[bytes, HeldRow]] = defaultdict(dict)
        epochs: dict[int, int] = {}
        for row in await hall.store.reads.held([*streams]):
            held[row.session_key][row.lease.token()] = row
            epochs[row.session_key] = row.epoch
        for key, connection in streams.items():
            if connection.ended.is_set():
                continue
            if epochs.get(key, connection.epoch) != connection.epoch:
                await _give_up(hall, connection)
            else:
                await connection.agree(held[key], delivery=deliveries[key])
                hall.repairs.take(connection.machine.holdings.repairs)


async def _give_up(hall: Hall, connection: Connection) -> None:
    """Another process moved the session. Its worker is told which way: to drop its tasks, or to come back with them."""
    session = connection.session
    assert session is not None
    found = await hall.store.reads.session(session.session_id)
    hall.repairs.counts[Repair.TAKEN_OVER_ELSEWHERE] += 1
    log.warning("session_moved_elsewhere", worker=connection.worker_name, session=session.session_id)
    if found is not None and found.record.connection > session.connection:
        connection.end(SessionSupersededError(f"a newer stream took session {session.session_id} over"))
    else:
        connection.end(DrainingError("this server was away; connect again"))
