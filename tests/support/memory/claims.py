"""The claim: the same rules as in `storage.claims`, told without a database."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from jobhall.states import JobState
from jobhall_server.domain.job import Lease, Payload
from jobhall_server.domain.session import SessionState
from jobhall_server.hall.store import Claimed, Want
from jobhall_server.hall.views import PayloadKind
from jobhall_server.storage.claims import PARAMETERS_BYTES_MAX
from tests.support.memory.tables import Row, Tables

_DESCRIBED = "max_attempts created_at labels path file_name file_size owner organization_id rules trace type_version"


class Claims:
    """One claim for several sessions; `lease` writes a row as it is leased."""

    def __init__(self, tables: Tables, lease: Callable[[Row, Want], Row], now: int) -> None:
        self._tables = tables
        self._now = now
        self._lease = lease
        self._budget = PARAMETERS_BYTES_MAX
        self._taken: set[int] = set()
        self._with_lost: set[int] = set()
        """Sessions that are given a lost job by this claim."""

    def share(self, wants: Sequence[Want]) -> list[list[Claimed]]:
        """What each of them is given: those that name jobs one by one, the others queue by queue, in each by turns."""
        all_hungry = [_Hungry(want) for want in wants]
        hungry = [one for one in all_hungry if self._may_claim(one.want)]
        for one in hungry:
            if one.want.job_keys:
                self._share_queues([one])
        self._share_queues([one for one in hungry if not one.want.job_keys])
        return [[self._claimed(self._lease(row, one.want)) for row in one.given] for one in all_hungry]

    def _share_queues(self, hungry: Sequence[_Hungry]) -> None:
        for queue_key in _turns([one.want for one in hungry]):
            self._share_queue(queue_key, hungry)

    def _may_claim(self, want: Want) -> bool:
        session = self._tables.sessions.get(want.session_key)
        if session is None or session.record.epoch != want.epoch or session.record.drain_at is not None:
            return False
        record = session.record
        return record.state is SessionState.ATTACHED or (record.unary and record.state is SessionState.DETACHED)

    def _share_queue(self, queue_key: int, hungry: Sequence[_Hungry]) -> None:
        turn = [one for one in hungry if one.room(queue_key) > 0]
        for row in self._waiting(queue_key):
            taker = next((one for one in turn if self._may_have(one, row)), None)
            if taker is None:
                continue
            if self._budget <= 0:
                return
            turn.remove(taker)
            taker.given.append(row)
            self._taken.add(row["key"])
            if row["lane"] == 1:
                self._with_lost.add(taker.want.session_key)
            taker.credit -= 1
            taker.limits[queue_key] -= 1
            self._budget -= (row["parameters_bytes"] or 0) + (row["checkpoint_bytes"] or 0)
            if taker.room(queue_key) > 0:
                turn.append(taker)

    def _waiting(self, queue_key: int) -> list[Row]:
        """What is ready in a queue, in claim order."""
        ready = [row for row in self._tables.jobs.values() if row["ready"] is not None and not self._too_late(row)]
        rows = [row for row in ready if row["queue_key"] == queue_key and row["key"] not in self._taken]
        return sorted(rows, key=lambda row: (row["priority_order"], row["ready"], row["key"]))

    def _too_late(self, row: Row) -> bool:
        """Its time to begin is over, though nobody has said so yet."""
        due_at: int | None = row["due_at"]
        return due_at is not None and due_at <= self._now

    def _may_have(self, one: _Hungry, row: Row) -> bool:
        want = one.want
        if want.job_keys and row["key"] not in want.job_keys:
            return False
        if row["excluded"] and (row["key"], want.session_key) in self._tables.exclusions:
            return False
        return row["lane"] == 0 or not self._holds_lost(want.session_key)

    def _holds_lost(self, session_key: int) -> bool:
        held = [row for row in self._tables.jobs.values() if row["held_by"] == session_key]
        return session_key in self._with_lost or any(row["lane"] == 1 for row in held)

    def _claimed(self, row: Row) -> Claimed:
        assert row["state"] is JobState.CLAIMED
        key = row["key"]
        kept = row["checkpoint_bytes"] is not None
        checkpoint, progress = self._tables.checkpoints[key] if kept else (None, None)
        parameters: Payload | None = self._tables.payloads[PayloadKind.PARAMETERS].get(key)
        return Claimed(
            lease=Lease(key, row["fence"], row["nonce"]),
            job_id=row["job_id"],
            queue_key=row["queue_key"],
            attempt=row["attempt"] + 1,
            priority=-row["priority_order"],
            parameters=parameters,
            checkpoint=checkpoint,
            progress=progress,
            batch_id=self._tables.batches[row["batch_key"]].batch_id if row["batch_key"] is not None else "",
            **{name: row[name] for name in _DESCRIBED.split()},
        )


class _Hungry:
    """A session in a claim, and what it was given so far."""

    def __init__(self, want: Want) -> None:
        self.want = want
        self.limits = dict(want.queues)
        self.credit = want.credit
        self.given: list[Row] = []

    def room(self, queue_key: int) -> int:
        """How many jobs of that queue it may still be given."""
        return min(self.credit, self.limits.get(queue_key, 0))


def _turns(wants: Sequence[Want]) -> list[int]:
    """Each queue once: first all that stand first in a want, then those that stand second, and so on."""
    places: dict[int, int] = {}
    for want in wants:
        for place, (queue_key, _) in enumerate(want.queues):
            places[queue_key] = min(place, places.get(queue_key, place))
    return sorted(places, key=places.__getitem__)
