"""The queries of those who look after many jobs: counters, batches, what is ahead, what is over."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Sequence
from operator import attrgetter

from jobhall.states import TERMINAL_STATES, JobState
from jobhall_server.domain.access import Principal, may_touch
from jobhall_server.domain.batch import COUNTED_STATES, BatchRecord, BatchView, Counts, Sweep
from jobhall_server.domain.progress import Progress
from jobhall_server.hall.views import BatchFilter, BatchOrder, PurgeStep, QueueStats, QueueView, Retention
from tests.support.memory.history import HistoryReads
from tests.support.memory.tables import Row

ROWS_MAX = 1000
MEMBERS_MAX = 500
_MINUTE_US = 60_000_000


class ManagementReads(HistoryReads):
    """Over the same tables."""

    @abstractmethod
    async def queues(self, *, after_key: int = 0) -> list[QueueView]:
        """Every queue made after that key."""

    # --- stats ---

    async def stats(
        self, principal: Principal, namespace: str | None, *, job_types: Collection[str] = (), owner: str = ""
    ) -> list[QueueStats]:
        queues = [queue for queue in await self.queues() if namespace in (None, queue.namespace)]
        found = [
            self._stats(principal, queue, owner)
            for queue in queues
            if queue.job_type in (job_types or {queue.job_type})
        ]
        return [one for one in found if any(one.counts) or any(one.removed)]

    def _stats(self, principal: Principal, queue: QueueView, owner: str) -> QueueStats:
        def counts(whose: str, organization_id: str) -> bool:
            seen = may_touch(principal, owner=whose, organization_id=organization_id)
            return seen and owner in ("", whose)

        rows = [row for row in self._tables.jobs.values() if row["queue_key"] == queue.key]
        states = [row["state"] for row in rows if counts(row["owner"], row["organization_id"])]
        removed = dict.fromkeys(COUNTED_STATES, 0)
        for (queue_key, whose, organization_id, state), many in self._tables.removed.items():
            if queue_key == queue.key and counts(whose, organization_id):
                removed[state] += many
        waiting = [row for row in rows if row["ready"] is not None]
        ready = [row["ready"] for row in waiting if counts(row["owner"], row["organization_id"])]
        return QueueStats(
            queue=queue,
            counts=Counts(*map(states.count, COUNTED_STATES)),
            removed=Counts(*removed.values()),
            completed_per_second=self._rate(queue, JobState.COMPLETED),
            failed_per_second=self._rate(queue, JobState.FAILED),
            oldest_ready_at=min(ready, default=None),
        )

    def _rate(self, queue: QueueView, state: JobState) -> float:
        minute, elapsed_us = divmod(self._now(), _MINUTE_US)
        ended = {minute: 0, minute - 1: 0}
        for one, many in self._tables.ended.items():
            if one.queue_key == queue.key and one.state is state and one.minute in ended:
                ended[one.minute] += many
        return (ended[minute - 1] * (1 - elapsed_us / _MINUTE_US) + ended[minute]) / 60

    async def jobs_ahead(self, job_key: int, *, limit: int) -> int:
        mine = self._tables.jobs.get(job_key)
        if mine is None or mine["ready"] is None:
            return 0
        ready = [row for row in self._tables.jobs.values() if row["ready"] is not None]
        ahead = [row for row in ready if row["queue_key"] == mine["queue_key"] and _turn(row) < _turn(mine)]
        return min(len(ahead), limit)

    async def excluded_sessions(self, job_key: int) -> frozenset[int]:
        return frozenset(session for job, session in self._tables.exclusions if job == job_key)

    async def jobs_to_purge(self, keep: Retention, *, after_key: int) -> PurgeStep:
        keys = sorted(key for key in self._tables.jobs if key > after_key)
        looked_at = keys[:ROWS_MAX]
        over = tuple(key for key in looked_at if _over(self._tables.jobs[key], keep, self._now()))
        return PurgeStep(over, looked_at[-1] if len(keys) > ROWS_MAX else None)

    async def schemas(self, job_type_key: int, version: int) -> tuple[str | None, str | None]:
        return self._tables.schemas.get((job_type_key, version), (None, None))

    async def type_of_queue(self, queue_key: int) -> int:
        return next(pair[1] for pair, key in self._tables.queues.items() if key == queue_key)

    async def any_result_schema(self) -> bool:
        return any(of_result is not None for _, of_result in self._tables.schemas.values())

    async def type_versions(self, job_keys: Sequence[int]) -> dict[int, tuple[int, int]]:
        rows = [self._tables.jobs[key] for key in job_keys if key in self._tables.jobs]
        return {row["key"]: (row["queue_key"], row["type_version"]) for row in rows}

    # --- batches ---

    async def batch(self, principal: Principal, batch_id: str) -> BatchView | None:
        found = [batch for batch in self._seen(principal) if batch.batch_id == batch_id]
        return self._batch_view(found[0]) if found else None

    async def batches(
        self,
        principal: Principal,
        where: BatchFilter,
        *,
        order: BatchOrder,
        after: tuple[str, int] | None,
        limit: int,
        skip: int = 0,
    ) -> list[BatchView]:
        found = [batch for batch in self._seen(principal) if _names(where, batch)]
        by_name = order is BatchOrder.NAME
        places = [((batch.name if by_name else "", batch.key), batch) for batch in found]
        falling = order is BatchOrder.CREATED_DESC
        places.sort(key=lambda one: one[0], reverse=falling)
        left = [batch for place, batch in places if after is None or (place < after if falling else place > after)]
        return [self._batch_view(batch) for batch in left[skip : skip + limit]]

    async def members(self, batch_key: int, *, after_key: int) -> list[int]:
        keys = [key for key, row in self._tables.jobs.items() if row["batch_key"] == batch_key and key > after_key]
        return sorted(keys)[:MEMBERS_MAX]

    async def batches_at_work(self, *, after_key: int = 0) -> list[BatchRecord]:
        batches = [one for one in self._tables.batches.values() if one.key > after_key]
        at_work = [one for one in batches if one.sweep or one.completion_due]
        return sorted(at_work, key=attrgetter("key"))[:ROWS_MAX]

    def _seen(self, principal: Principal) -> list[BatchRecord]:
        return [
            batch
            for batch in self._tables.batches.values()
            if batch.sweep is not Sweep.DELETE
            and may_touch(principal, owner=batch.owner, organization_id=batch.organization_id)
        ]

    def _batch_view(self, batch: BatchRecord) -> BatchView:
        members = [row for row in self._tables.jobs.values() if row["batch_key"] == batch.key]
        told = [(row, self._tables.newest_progress(row["key"])) for row in members]
        purged = [progress for key, progress in self._tables.purged_progress.values() if key == batch.key]
        known = [progress for _, progress in told if progress is not None] + purged
        running = sum((progress.percent_done or 0) for row, progress in told if row["held_by"] and progress)
        counts = batch.counts
        percent = (100 * counts.ended + running) / counts.total if counts.total else None
        totals = [progress.total for progress in known if progress.total is not None]
        return BatchView(
            batch,
            Progress(
                percent=percent,
                total=sum(totals) if totals else None,
                processed=sum(progress.processed or 0 for progress in known),
                succeeded=sum(progress.succeeded or 0 for progress in known),
                failed=sum(progress.failed or 0 for progress in known),
            ),
        )


def _turn(row: Row) -> tuple[int, int, int]:
    return row["priority_order"], row["ready"], row["key"]


def _over(row: Row, keep: Retention, now: int) -> bool:
    if row["state"] not in TERMINAL_STATES:
        return False
    by_state = {
        JobState.COMPLETED: keep.completed_us,
        JobState.FAILED: keep.failed_us,
        JobState.CANCELLED: keep.cancelled_us,
    }
    kept_us = by_state[row["state"]] if row["retention_us"] is None else row["retention_us"]
    return kept_us is not None and bool(row["terminal"] + kept_us <= now)


def _names(where: BatchFilter, batch: BatchRecord) -> bool:
    return all(
        (
            where.namespace in (None, batch.namespace),
            not where.states or batch.state in where.states,
            not where.owners or batch.owner in where.owners,
            where.name in (None, batch.name),
            where.active in (None, batch.active),
            where.closed in (None, batch.closed),
            where.created_after is None or batch.created_at >= where.created_after,
            where.created_before is None or batch.created_at < where.created_before,
        )
    )
