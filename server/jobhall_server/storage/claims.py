"""The claim: queue by queue, what waits longest goes to the sessions that are hungry, in turns."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from heapq import merge
from operator import itemgetter
from typing import Any

from jobhall.states import EventType, JobState
from jobhall_server.domain.job import Lease, Payload
from jobhall_server.domain.progress import Progress
from jobhall_server.hall.store import Claimed, Want
from jobhall_server.storage import statements_claim, statements_jobs
from jobhall_server.storage.codec import id_of_hex, progress_of
from jobhall_server.storage.dialect import keys
from jobhall_server.storage.execution import Execution
from jobhall_server.storage.numbers import Numbers
from jobhall_server.storage.staged import Staged

PARAMETERS_BYTES_MAX = 8 * 1024 * 1024
"""What one claim reads of parameters and checkpoints; it ends early rather than hold more, but never with nothing."""
PASSED_OVER_MAX = 1000
"""Jobs of a queue that a claim looks at in vain, since the hungry sessions have given them back as not theirs. As many
again are looked at where the claim before this one stopped.
"""

Candidate = list[Any]
"""A row of `statements_claim.candidates`."""

_KEY, _LANE, _EXCLUDED, _PARAMETERS, _CHECKPOINT, _BATCH, _STATS, _DUE = map(
    statements_claim.CANDIDATE.index,
    ("key", "lane", "excluded", "parameters_bytes", "checkpoint_bytes", "batch_key", "stats_key", "due_at"),
)
_counted = itemgetter(_STATS, _BATCH)
_PLACE = slice(3)
"""Of a candidate in the claim order."""


class _Hungry:
    """A session in a claim, and what it was given so far."""

    def __init__(self, want: Want) -> None:
        self.want = want
        self.limits = dict(want.queues)
        self.credit = want.credit
        self.given: list[tuple[int, Candidate]] = []
        self.holds_lost = False
        self.was_due = False

    def room(self, queue_key: int) -> int:
        """How many jobs of that queue it may still be given."""
        return min(self.credit, self.limits.get(queue_key, 0))


def claim(execution: Execution, wants: Sequence[Want], staged: Staged, numbers: Numbers) -> list[list[Claimed]]:
    """Lease jobs to the sessions; answers what each want was given."""
    hungry = [_Hungry(want) for want in wants]
    # Who names its jobs comes by itself, so that what it is given is not in the way of the others.
    for table in [[one] for one in hungry if one.want.job_keys] + [[one for one in hungry if not one.want.job_keys]]:
        _Claim(execution, staged, numbers).serve(table)
    jobs = [job for session in hungry for _, job in session.given]
    staged.claimed += map(_counted, jobs)
    parameters, checkpoints = _parameters(execution, jobs), _checkpoints(execution, jobs)
    batches = _batch_ids(execution, jobs)
    return [_claimed(session, parameters, checkpoints, batches) for session in hungry]


class _Claim:
    """One round of a claim, for sessions that are served together."""

    def __init__(self, execution: Execution, staged: Staged, numbers: Numbers) -> None:
        self._execution = execution
        self._numbers = numbers
        self._logged = staged.logged
        self._now = staged.now
        self._tables = execution.tables
        self._budget = PARAMETERS_BYTES_MAX

    def serve(self, hungry: Sequence[_Hungry]) -> None:
        """Give the sessions what waits in their queues."""
        for queue_key in _turns(session.want for session in hungry):
            eaters = [session for session in hungry if session.room(queue_key) > 0]
            if eaters and self._budget > 0:
                self._serve_queue(queue_key, eaters)
        served = [session for session in hungry if session.given]
        if served:
            self._lease(served)

    def _serve_queue(self, queue_key: int, eaters: Sequence[_Hungry]) -> None:
        """The jobs of both lanes in claim order: as many as there is room for, of lost ones at most one per session."""
        if eaters[0].want.job_keys:
            named = {"queue_key": queue_key, "keys": keys(eaters[0].want.job_keys)}
            found = sorted(self._rows(statements_claim.candidates_named, **named))
            self._share(
                [job for job in found if not job[_LANE]], [job for job in found if job[_LANE]], eaters, queue_key
            )
            return
        limits = [sum(session.room(queue_key) for session in eaters), len(eaters)]
        first = {"queue_key": queue_key, "limit_waiting": limits[0], "limit_lost": limits[1]}
        found = self._execution.rows_of_each(statements_claim.candidates(self._tables), **first)
        waiting, lost = map(sorted, found)
        left = PASSED_OVER_MAX
        while (passed_over := self._share(waiting, lost, eaters, queue_key)) and self._budget > 0:
            left -= passed_over
            eaters = [session for session in eaters if session.room(queue_key) > 0]
            limits = [min(limit * 4, left) for limit in limits]
            if not eaters:
                break
            if left <= 0:
                self._go_on(queue_key, (waiting, lost), eaters)
                break
            waiting = self._more(queue_key, 0, limits[0], waiting)
            lost = self._more(queue_key, 1, limits[1], lost)

    def _go_on(self, queue_key: int, before: Sequence[Sequence[Candidate]], eaters: Sequence[_Hungry]) -> None:
        """Too much was passed over: look where the claim before stopped, and so by and by at the whole queue."""
        places, found = self._execution.passed_over, []
        for lane in (0, 1):
            remembered = places.get((queue_key, lane))
            # What stands in front by now was looked at just before.
            behind = before[lane] and [max(before[lane][-1], remembered or [])]
            found.append(self._more(queue_key, lane, PASSED_OVER_MAX, behind))
        self._share(found[0], found[1], eaters, queue_key)
        if self._budget > 0 and any(session.room(queue_key) > 0 for session in eaters):
            for lane, jobs in enumerate(found):
                if len(jobs) == PASSED_OVER_MAX:
                    places[queue_key, lane] = jobs[-1][_PLACE]
                else:
                    places.pop((queue_key, lane), None)

    def _more(self, queue_key: int, lane: int, limit: int, before: Sequence[Candidate]) -> list[Candidate]:
        """The jobs of a lane after those that were found before."""
        if not before:
            return []
        order, ready, key = before[-1][_PLACE]
        after = {"after_priority_order": order, "after_ready": ready, "after_key": key}
        place = {"queue_key": queue_key, "lane": lane, "limit": limit}
        return sorted(self._rows(statements_claim.candidates_after, **place, **after))

    def _share(self, waiting: list[Candidate], lost: list[Candidate], eaters: Sequence[_Hungry], queue_key: int) -> int:
        """Give the jobs out in turns; answers how many were passed over that somebody gave back as not theirs, or that
        may not begin any more.
        """
        found = waiting
        if lost:
            found = list(merge(waiting, lost))
            self._find_holders(eaters)
        excluded = self._exclusions(found)
        turn = deque(eaters)
        passed_over = 0
        for job in found:
            if not turn:
                break
            due_at = job[_DUE]
            if due_at is not None and due_at <= self._now:
                # Its time to begin is over; the reaper is about to say so.
                passed_over += 1
                continue
            taker = _taker(turn, job, excluded) if job[_LANE] or job[_EXCLUDED] else turn.popleft()
            if taker is None:
                passed_over += job[_EXCLUDED]
                continue
            taker.given.append((queue_key, job))
            if due_at is not None:
                taker.was_due = True
            taker.credit -= 1
            taker.limits[queue_key] -= 1
            if taker.credit and taker.limits[queue_key]:
                turn.append(taker)
            self._budget -= (job[_PARAMETERS] or 0) + (job[_CHECKPOINT] or 0)
            if self._budget <= 0:
                break
        return passed_over

    def _exclusions(self, found: Sequence[Candidate]) -> set[tuple[int, int]]:
        wanted = [job[_KEY] for job in found if job[_EXCLUDED]]
        if not wanted:
            return set()
        return {(job, session) for job, session in self._rows(statements_claim.exclusions, keys=keys(wanted))}

    def _find_holders(self, eaters: Sequence[_Hungry]) -> None:
        """See who holds a job already that was lost before."""
        sessions = keys(session.want.session_key for session in eaters)
        holders = {key for (key,) in self._rows(statements_claim.holders_of_lost, keys=sessions)}
        for session in eaters:
            session.holds_lost = session.holds_lost or session.want.session_key in holders

    def _lease(self, served: Sequence[_Hungry]) -> None:
        """Write the leases and their events."""
        execution, tables, now = self._execution, self._tables, self._now
        all_keys: list[int] = []
        for session in served:
            want = session.want
            job_keys = [job[_KEY] for _, job in session.given]
            lease = {"holder": want.session_key, "holder_name": want.worker, "lease_nonce": want.nonce, "now": now}
            if want.accept_us is None and not session.was_due:
                execution.write_keys(statements_claim.lease_jobs(tables), job_keys, **lease)
            else:
                lease["accept_by"] = None if want.accept_us is None else now + want.accept_us
                execution.write_keys(statements_claim.lease_jobs_until(tables), job_keys, **lease)
            all_keys += job_keys
        event = {"event_type": EventType.CLAIMED, "state": JobState.CLAIMED, "later": 0, "failed": 0}
        first = self._numbers.take_events(len(all_keys))
        execution.write_keys(statements_jobs.log_events(tables), all_keys, base=first, now=now, **event)
        self._logged.append(all_keys)

    def _rows(self, statement: Any, **values: Any) -> list[list[Any]]:
        return self._execution.rows(statement(self._tables), **values)


def _turns(wants: Iterable[Want]) -> list[int]:
    """Each queue once: first all that stand first in a want, then those that stand second, and so on."""
    places: dict[int, int] = {}
    for want in wants:
        for place, (queue_key, _) in enumerate(want.queues):
            places[queue_key] = min(place, places.get(queue_key, place))
    return sorted(places, key=places.__getitem__)


def _taker(turn: deque[_Hungry], job: Candidate, excluded: set[tuple[int, int]]) -> _Hungry | None:
    """The first in turn who may have a job that is not for everybody, taken out; None when nobody may: not who gave it
    back as not theirs, and a lost job goes where no other one is.
    """
    lost = job[_LANE] == 1
    for session in turn:
        if not (lost and session.holds_lost) and (job[_KEY], session.want.session_key) not in excluded:
            session.holds_lost = session.holds_lost or lost
            turn.remove(session)
            return session
    return None


def _parameters(execution: Execution, jobs: Sequence[Candidate]) -> dict[int, Payload]:
    wanted = [job[_KEY] for job in jobs if job[_PARAMETERS] is not None]
    if not wanted:
        return {}
    rows = execution.rows(statements_claim.parameters(execution.tables), keys=keys(wanted))
    return {key: _payload(content_type, text, data) for key, content_type, text, data in rows}


def _checkpoints(execution: Execution, jobs: Sequence[Candidate]) -> dict[int, tuple[Payload, Progress | None]]:
    wanted = [job[_KEY] for job in jobs if job[_CHECKPOINT] is not None]
    if not wanted:
        return {}
    rows = execution.rows(statements_claim.checkpoints(execution.tables), keys=keys(wanted))
    return {key: (_payload(*stored), progress and progress_of(progress)) for key, *stored, progress in rows}


def _batch_ids(execution: Execution, jobs: Sequence[Candidate]) -> dict[int, str]:
    wanted = {job[_BATCH] for job in jobs if job[_BATCH] is not None}
    if not wanted:
        return {}
    rows = execution.rows(statements_claim.batch_ids(execution.tables), keys=keys(wanted))
    return {key: id_of_hex(batch_id) for key, batch_id in rows}


def _payload(content_type: str, text: str | None, data: str | None) -> Payload:
    """Of a row in JSON, which has bytes as hex."""
    return Payload(bytes.fromhex(data or "") if text is None else text, content_type)


def _claimed(
    session: _Hungry,
    parameters: dict[int, Payload],
    checkpoints: dict[int, tuple[Payload, Progress | None]],
    batches: dict[int, str],
) -> list[Claimed]:
    nonce = session.want.nonce
    claimed = []
    # Each job's own cost: every column by its name is quicker than slices, and those with a checkpoint are few.
    for queue, job in session.given:
        (
            order,
            _,
            key,
            _,
            _,
            fence,
            attempt,
            limit,
            at,
            _,
            _,
            job_id,
            labels,
            path,
            name,
            size,
            owner,
            org,
            rules,
            batch,
            _,
            _,
            trace,
            version,
        ) = job
        identity = (Lease(key, fence + 1, nonce), id_of_hex(job_id), queue, attempt + 1, limit, -order, at)
        told = (*identity, labels, path, name, size, owner, org, rules, parameters.get(key))
        one = Claimed(*told, None, None, batches.get(batch, ""), trace, version)
        if key in checkpoints:
            state, progress = checkpoints[key]
            one = one._replace(checkpoint=state, progress=progress)
        claimed.append(one)
    return claimed
