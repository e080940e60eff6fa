"""The claim: queue by queue, what waits longest goes to the sessions that are hungry, in turns."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from heapq import merge
from typing import Any

from jobhall.states import EventType, JobState
from jobhall_server.domain.job import Lease, Payload
from jobhall_server.hall.store import Claimed, Want
from jobhall_server.storage import statements_claim, statements_jobs, statements_write
from jobhall_server.storage.codec import id_of_hex
from jobhall_server.storage.dialect import keys
from jobhall_server.storage.execution import Execution

PARAMETERS_BYTES_MAX = 8 * 1024 * 1024
"""What one claim reads of parameters; it ends early rather than hold more, but never with nothing."""

Candidate = list[Any]
"""A row of `statements_claim.candidates`, its lane after the claim order."""

_LANE, _BYTES = 3, 8


class _Hungry:
    """A session in a claim, and what it was given so far."""

    def __init__(self, want: Want) -> None:
        self.want = want
        self.limits = dict(want.queues)
        self.credit = want.credit
        self.given: list[tuple[int, Candidate]] = []
        self.holds_lost = False

    def room(self, queue_key: int) -> int:
        """How many jobs of that queue it may still be given."""
        return min(self.credit, self.limits.get(queue_key, 0))


def claim(execution: Execution, wants: Sequence[Want], now: int) -> tuple[dict[int, list[Claimed]], int | None]:
    """Lease jobs to the sessions; answers what each was given, by session key, and the number of the last event."""
    hungry = [_Hungry(want) for want in wants]
    budget = PARAMETERS_BYTES_MAX
    for queue_key in _turns(wants):
        eaters = [session for session in hungry if session.room(queue_key) > 0]
        if eaters and budget > 0:
            found = _candidates(execution, queue_key, eaters)
            if found:
                budget = _share(found, eaters, queue_key, budget)
    served = [session for session in hungry if session.given]
    if not served:
        return {}, None
    last_event = _lease(execution, served, now)
    parameters = _parameters(execution, served)
    return {session.want.session_key: _claimed(session, parameters) for session in served}, last_event


def _turns(wants: Iterable[Want]) -> list[int]:
    """Each queue once: first all that stand first in a want, then those that stand second, and so on."""
    places: dict[int, int] = {}
    for want in wants:
        for place, (queue_key, _) in enumerate(want.queues):
            places[queue_key] = min(place, places.get(queue_key, place))
    return sorted(places, key=places.__getitem__)


def _candidates(execution: Execution, queue_key: int, eaters: Sequence[_Hungry]) -> Iterable[Candidate]:
    """The jobs of both lanes in claim order: as many as there is room for, of lost ones at most one per session."""
    statement = statements_claim.candidates(execution.tables)
    room = sum(session.room(queue_key) for session in eaters)
    waiting = execution.rows(statement, queue_key=queue_key, lane=0, limit=room)
    lost = execution.rows(statement, queue_key=queue_key, lane=1, limit=len(eaters))
    if not lost:
        return sorted(waiting)
    sessions = keys(session.want.session_key for session in eaters)
    holders = {key for (key,) in execution.rows(statements_claim.holders_of_lost(execution.tables), keys=sessions)}
    for session in eaters:
        session.holds_lost = session.holds_lost or session.want.session_key in holders
    return list(merge(sorted(waiting), sorted(lost)))


def _share(found: Iterable[Candidate], eaters: Sequence[_Hungry], queue_key: int, budget: int) -> int:
    """Give the jobs out in turns; answers what is left of the bytes."""
    turn = deque(eaters)
    for job in found:
        if not turn:
            break
        taker = _taker(turn, lost=job[_LANE] == 1)
        if taker is None:
            continue
        taker.given.append((queue_key, job))
        taker.credit -= 1
        taker.limits[queue_key] -= 1
        if taker.room(queue_key) > 0:
            turn.append(taker)
        budget -= job[_BYTES] or 0
        if budget <= 0:
            break
    return budget


def _taker(turn: deque[_Hungry], *, lost: bool) -> _Hungry | None:
    """The first in turn who may have it, taken out; None when nobody may: a lost job goes where no other one is."""
    if not lost:
        return turn.popleft()
    for session in turn:
        if not session.holds_lost:
            session.holds_lost = True
            turn.remove(session)
            return session
    return None


def _lease(execution: Execution, served: Sequence[_Hungry], now: int) -> int:
    """Write the leases and their events; answers the last event's number."""
    tables = execution.tables
    all_keys: list[int] = []
    for session in served:
        want = session.want
        job_keys = [job[2] for _, job in session.given]
        lease = {"holder": want.session_key, "holder_name": want.worker, "lease_nonce": want.nonce, "now": now}
        execution.write_keys(statements_claim.lease_jobs(tables), job_keys, **lease)
        all_keys += job_keys
    last: int = execution.scalar(statements_write.number_events(tables), count=len(all_keys))
    event = {"event_type": EventType.CLAIMED, "state": JobState.CLAIMED, "later": 0}
    first = last - len(all_keys) + 1
    execution.write_keys(statements_jobs.log_events(tables), all_keys, base=first, now=now, **event)
    return last


def _parameters(execution: Execution, served: Sequence[_Hungry]) -> dict[int, Payload]:
    wanted = [job[2] for session in served for _, job in session.given if job[_BYTES] is not None]
    if not wanted:
        return {}
    rows = execution.rows(statements_claim.parameters(execution.tables), keys=keys(wanted))
    return {
        key: Payload(bytes.fromhex(data) if text is None else text, content_type)
        for key, content_type, text, data in rows
    }


def _claimed(session: _Hungry, parameters: dict[int, Payload]) -> list[Claimed]:
    nonce = session.want.nonce
    claimed = []
    for queue_key, job in session.given:
        order, _, key, _, fence, attempt, attempts_max, created_at, _, job_id, *described = job
        lease = Lease(key, fence + 1, nonce)
        identity = (lease, id_of_hex(job_id), queue_key, attempt + 1, attempts_max, -order, created_at)
        claimed.append(Claimed._make((*identity, *described, parameters.get(key))))
    return claimed
