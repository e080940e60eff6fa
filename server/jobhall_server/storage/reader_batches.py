"""Queries of batches, and of the counters that are kept of all jobs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any

from jobhall.limits import INTEGER_MAX
from jobhall.states import BatchState
from jobhall_server.domain.access import Principal
from jobhall_server.domain.batch import BatchRecord, BatchView, Counts
from jobhall_server.domain.progress import Progress
from jobhall_server.hall.views import BatchFilter, BatchOrder, QueueStats, QueueView
from jobhall_server.storage import statements_read_batches as statements
from jobhall_server.storage.batches import record
from jobhall_server.storage.codec import progress_of
from jobhall_server.storage.connections import Row
from jobhall_server.storage.dialect import keys
from jobhall_server.storage.read_clauses import Sight, caller, listed, stored_id
from jobhall_server.storage.reading import KEY_MAX, ROWS_MAX, Reading
from jobhall_server.storage.statements_batches import ITEMS
from jobhall_server.storage.statements_stats import MINUTE_US

MEMBERS_MAX = 500
"""Jobs of a batch in one step of a sweep."""

OWN_LOOK = 1000
"""Jobs of one queue that are looked at for the oldest that a caller may see."""

_BOTH = (0, 1)
_STATES = tuple(BatchState)[1:]
_NAMES = len(QueueView.__dataclass_fields__)
_UNENDED = 5
"""Of the states of `Counts`, those of jobs that have not ended."""


class BatchReads(Reading):
    """The part of `hall.reads.Reads` for what jobs are grouped and counted by."""

    async def batch(self, principal: Principal, batch_id: str) -> BatchView | None:
        stored = stored_id(batch_id)
        if stored is None:
            return None
        statement = statements.batch(self._tables, Sight.of(principal))
        rows = await self._connections.rows(statement, caller(principal) | {"batch_id": stored})
        return (await self._views(rows))[0] if rows else None

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
        newest_first = order is BatchOrder.CREATED_DESC
        statement = statements.batches(
            self._tables,
            Sight.of(principal),
            of_one_namespace=where.namespace is not None,
            by_name=order is BatchOrder.NAME,
            newest_first=newest_first,
        )
        name, key = after or ("", KEY_MAX if newest_first else 0)
        values = caller(principal) | {
            "namespace": where.namespace,
            "after_name": name,
            "after_key": key,
            "before_key": key,
            "states": keys(where.states or _STATES),
            "active": keys(_BOTH if where.active is None else (int(where.active),)),
            "closed": keys(_BOTH if where.closed is None else (int(where.closed),)),
            "every_owner": int(not where.owners),
            "owners": listed(where.owners),
            "every_name": int(where.name is None),
            "named": where.name or "",
            "created_after": where.created_after or 0,
            "created_before": KEY_MAX if where.created_before is None else where.created_before,
            "limit": min(limit, ROWS_MAX),
            "skip": skip,
        }
        return await self._views(await self._connections.rows(statement, values))

    async def batches_at_work(self, *, after_key: int = 0) -> list[BatchRecord]:
        values = {"after_key": after_key, "limit": ROWS_MAX}
        rows = await self._connections.rows(statements.batches_at_work(self._tables), values)
        return [record(row) for row in rows]

    async def members(self, batch_key: int, *, after_key: int) -> list[int]:
        values = {"batch_key": batch_key, "after_key": after_key, "limit": MEMBERS_MAX}
        return [key for (key,) in await self._connections.rows(statements.members(self._tables), values)]

    async def stats(
        self, principal: Principal, namespace: str | None, *, job_types: Collection[str] = (), owner: str = ""
    ) -> list[QueueStats]:
        statement = statements.stats(self._tables, Sight.of(principal), of_one_namespace=namespace is not None)
        minute, elapsed_us = divmod(self._now(), MINUTE_US)
        asked = caller(principal) | {
            "namespace": namespace,
            "every_type": int(not job_types),
            "job_types": listed(job_types),
            "every_owner": int(not owner),
            "of_owner": owner,
            "minute": minute,
            "left": 1 - elapsed_us / MINUTE_US,
            "limit": ROWS_MAX,
        }
        found: list[QueueStats] = []
        page: list[Row] | None = None
        while page is None or len(page) == ROWS_MAX:
            after = {"after_key": page[-1][0] if page else 0}
            page = await self._connections.rows(statement, asked | after)
            oldest = await self._oldest_ready(page, principal, asked)
            found += [_stats(row, oldest.get(row[0])) for row in page]
        return [one for one in found if any(one.counts) or any(one.removed)]

    async def _oldest_ready(self, rows: Sequence[Row], principal: Principal, asked: dict[str, Any]) -> dict[int, int]:
        """Of the queues in which a job waits that was counted: of those jobs only, that of others is not told."""
        waiting = [row[0] for row in rows if row[_NAMES + 1]]
        if not waiting:
            return {}
        sight = Sight.of(principal)
        if sight is Sight.ALL and asked["every_owner"]:
            statement = statements.oldest_ready(self._tables)
        else:
            statement = statements.oldest_own(self._tables, sight)
        found = await self._connections.rows(statement, asked | {"keys": keys(waiting), "look": OWN_LOOK})
        return {row[0]: row[1] for row in found}

    async def _views(self, rows: Sequence[Row]) -> list[BatchView]:
        records = [record(row[len(ITEMS) :]) for row in rows]
        running = await self._running([batch for batch in records if batch.counts.held])
        return [
            BatchView(batch, _progress(batch.counts, row[: len(ITEMS)], running.get(batch.key, 0.0)))
            for batch, row in zip(records, rows, strict=True)
        ]

    async def _running(self, batches: Sequence[BatchRecord]) -> dict[int, float]:
        """How far the tasks of each batch are, in percent of one, summed up. Of more than 1,000 some stand for all."""
        if not batches:
            return {}
        values = {"batch_keys": keys(batch.key for batch in batches), "limit": ROWS_MAX}
        told: dict[int, list[float]] = defaultdict(list)
        for key, text in await self._connections.rows(statements.running_members(self._tables), values):
            told[key].append((text and progress_of(text).percent_done) or 0.0)
        held = {batch.key: batch.counts.held for batch in batches}
        return {key: sum(percents) * held[key] / len(percents) for key, percents in told.items()}


def _progress(counts: Counts, items: Row, running: float) -> Progress:
    total, processed, succeeded, failed = (min(count, INTEGER_MAX) for count in items)
    percent = (100.0 * counts.ended + running) / counts.total if counts.total else None
    return Progress(percent=percent, total=total or None, processed=processed, succeeded=succeeded, failed=failed)


def _stats(row: Row, oldest_ready_at: int | None) -> QueueStats:
    width = len(Counts._fields)
    counts, (completed, failed) = row[_NAMES : _NAMES + width], row[-2:]
    return QueueStats(
        queue=QueueView(*row[:_NAMES]),
        counts=Counts(*counts),
        removed=Counts(*[0] * _UNENDED, *row[_NAMES + width : -2]),
        completed_per_second=completed / 60,
        failed_per_second=failed / 60,
        oldest_ready_at=oldest_ready_at,
    )
