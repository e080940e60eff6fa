"""The kept counters: what a group changes in them, summed up, so that a thousand jobs are one row of one statement."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from operator import attrgetter, itemgetter
from typing import NamedTuple, TypeVar

from jobhall.states import TERMINAL_STATES, EventType, JobState
from jobhall_server.domain.batch import Counts
from jobhall_server.domain.change import Change
from jobhall_server.domain.job import JobRecord, NewJob
from jobhall_server.storage import schema_groups, statements_batches, statements_stats, statements_write
from jobhall_server.storage.codec import progress_of
from jobhall_server.storage.dialect import keys
from jobhall_server.storage.execution import Execution
from jobhall_server.storage.numbers import Numbers
from jobhall_server.storage.staged import Staged

ROWS_KNOWN_MAX = 100_000
"""Rows whose keys a process remembers, so that no submit asks for them."""

ITEMS_COUNTED_MAX = 2**40
"""Items of one job that count for its batch, so that the sum over millions of members stays an integer."""

_OF_WHOM = ("queue_key", "owner", "organization_id")
_whose = itemgetter(*map(NewJob._fields.index, _OF_WHOM))
_moving = attrgetter("change", "before.stats_key", "before.batch_key")
_entering = itemgetter(*map(NewJob._fields.index, (*_OF_WHOM, "batch_key", "schedule_at")))

T = TypeVar("T")

Sums = dict[str, int]
"""What is added to each column."""

Whose = tuple[int, str, str]
"""A queue, owner and organisation: who counts in one row."""

_STATE = {JobState(number): name for number, name in enumerate(Counts._fields, 1)}
_REMOVED = {state: f"removed_{_STATE[state]}" for state in TERMINAL_STATES}
_ENDED = {JobState.COMPLETED: "completed_now", JobState.FAILED: "failed_now"}
_BEGINS = (EventType.RUNNING, EventType.COMPLETED)


class Items(NamedTuple):
    """What a progress adds to those of its job's batch, in the order of `statements_batches.ITEMS`."""

    total: int = 0
    processed: int = 0
    succeeded: int = 0
    failed: int = 0

    @classmethod
    def of(cls, text: str) -> Items:
        """Those that the stored progress tells."""
        told = progress_of(text)
        said = (told.total, told.processed, told.succeeded, told.failed)
        return cls(*(min(items or 0, ITEMS_COUNTED_MAX) for items in said))


class Tally:
    """The changes of one group, by stats row and by batch."""

    def __init__(self, execution: Execution, staged: Staged, numbers: Numbers) -> None:
        self._execution = execution
        self._staged = staged
        self._numbers = numbers
        self._stats: dict[int, Sums] = defaultdict(lambda: defaultdict(int))
        self._batches: dict[int, Sums] = defaultdict(lambda: defaultdict(int))
        self._made: dict[Whose, int] = {}
        """Rows that this group makes: they may be rolled back, so no other group may take them to be there."""

    def count_new(self) -> None:
        """Find or make the row in which each new job counts, before the job is written."""
        if not self._staged.new_jobs:
            return
        jobs = self._staged.new_jobs
        found: dict[Whose, int] = {}
        for (queue, owner, organization, batch_key, schedule_at), count in _counted(
            list(map(_entering, jobs.values()))
        ):
            whose = (queue, owner, organization)
            if whose not in found:
                found[whose] = self._row(whose)
            waits = schedule_at is not None and schedule_at > self._staged.now
            self._enter(JobState.SCHEDULED if waits else JobState.PENDING, found[whose], batch_key, count)
        if len(found) == 1:
            self._staged.stats_keys = dict.fromkeys(jobs, *found.values())
        else:
            self._staged.stats_keys = {key: found[_whose(job)] for key, job in jobs.items()}

    def count_imported(self) -> None:
        """The same of each job from elsewhere; what began or ended there did not do so now."""
        staged = self._staged
        for key, (job, home) in staged.imported.items():
            stats_key = self._row((home.queue_key, job.owner, job.organization_id))
            staged.stats_keys[key] = stats_key
            self._enter(job.state, stats_key, home.batch_key, 1)
            if home.batch_key is not None and job.started_at is not None:
                self._batches[home.batch_key][statements_batches.STARTED] += 1

    def count_items(self, jobs: Mapping[int, JobRecord]) -> None:
        """Sum up what members say of their items, before it takes the place of what they said last."""
        staged = self._staged
        if not staged.progress and not staged.deleted:
            return
        told: dict[int, tuple[int, Items]] = {}
        gone = {key: job for key, (job, purged) in staged.deleted.items() if job.batch_key is not None and not purged}
        for (key, fence), text in staged.progress.items():
            job = jobs.get(key)
            member = job is not None and job.batch_key is not None and key not in staged.deleted
            if member and fence >= told.get(key, (0,))[0]:
                told[key] = (fence, Items.of(text))
        if not told and not gone:
            return
        rows = self._execution.rows(
            statements_batches.newest_progress(self._execution.tables), keys=keys([*told, *gone])
        )
        before = {key: (fence, Items.of(text)) for key, fence, text in rows}
        for key, (fence, items) in told.items():
            known_fence, known = before.get(key, (0, Items()))
            if fence >= known_fence:
                self._add_items(jobs[key], items, known)
        for key, job in gone.items():
            if key in before:
                self._add_items(job, Items(), before[key][1])

    def write(self) -> Sequence[int]:
        """Sum up how jobs moved, and write it all; the closed batches that were touched and are over now."""
        self._count_jobs()
        execution, now = self._execution, self._staged.now
        tables = execution.tables
        stats = _changed(self._stats)
        if stats:
            self._write_stats(stats, now // statements_stats.MINUTE_US)
        if self._batches:
            names = statements_batches.COUNTED
            rows = [(key, *_values(self._batches[key], names)) for key in sorted(self._batches)]
            execution.write_rows(statements_batches.count_batches(tables), rows, now=now)
        if not self._batches and not self._staged.batches:
            return ()
        touched = keys(self._batches.keys() | self._staged.batches.keys())
        return [key for [key] in execution.rows(statements_batches.ended_batches(tables), keys=touched)]

    def _write_stats(self, stats: dict[int, Sums], minute: int) -> None:
        """Add to the columns that have changed: most groups change one row, in two or three of them."""
        execution = self._execution
        names = tuple(dict.fromkeys(chain.from_iterable(stats.values())))
        rows = [(key, *_values(sums, names)) for key, sums in stats.items()]
        if len(rows) == 1:
            execution.write_row(statements_stats.count_jobs_of_one(execution.tables, names), rows[0], minute=minute)
        else:
            execution.write_rows(statements_stats.count_jobs(execution.tables, names), rows, minute=minute)

    def _count_jobs(self) -> None:
        staged = self._staged
        if staged.moved:
            self._count_moves()
        for key, (job, purged) in staged.deleted.items():
            self._delete(job, job.stats_key or staged.stats_keys[key], purged=purged)
        if staged.claimed:
            for (stats_key, batch_key), count in _counted(staged.claimed):
                self._enter(JobState.PENDING, stats_key, batch_key, -count)
                self._enter(JobState.CLAIMED, stats_key, batch_key, count)

    def _count_moves(self) -> None:
        staged = self._staged
        moved_twice = [key for key, moved in staged.moved.items() if moved.earlier]
        for (change, stats_key, batch_key), count in _counted(list(map(_moving, staged.moved.values()))):
            # The record of a job that is as new as its move does not know its row yet.
            if stats_key:
                self._move(change, stats_key, batch_key, count)
        for key in staged.moved.keys() & staged.stats_keys.keys() if staged.stats_keys else ():
            moved = staged.moved[key]
            self._move(moved.change, staged.stats_keys[key], moved.before.batch_key, 1)
        for key in moved_twice:
            before = staged.moved[key].before
            for change, _ in staged.moved[key].earlier:
                self._move(change, before.stats_key or staged.stats_keys[key], before.batch_key, 1)

    def _move(self, change: Change, stats_key: int, batch_key: int | None, count: int) -> None:
        if change.source is not change.target:
            self._enter(change.source, stats_key, batch_key, -count)
            self._enter(change.target, stats_key, batch_key, count)
            if change.target in _ENDED:
                self._stats[stats_key][_ENDED[change.target]] += count
        if batch_key is not None and _begins(change):
            self._batches[batch_key][statements_batches.STARTED] += count

    def _delete(self, job: JobRecord, stats_key: int, *, purged: bool) -> None:
        self._enter(job.state, stats_key, None if purged else job.batch_key, -1)
        if purged and job.state in TERMINAL_STATES:
            self._stats[stats_key][_REMOVED[job.state]] += 1

    def _enter(self, state: JobState, stats_key: int, batch_key: int | None, count: int) -> None:
        name = _STATE[state]
        self._stats[stats_key][name] += count
        if batch_key is not None:
            self._batches[batch_key][name] += count

    def _add_items(self, job: JobRecord, items: Items, before: Items) -> None:
        assert job.batch_key is not None
        sums = self._batches[job.batch_key]
        for name, new, old in zip(statements_batches.ITEMS, items, before, strict=True):
            sums[name] += new - old

    def _row(self, whose: Whose) -> int:
        known = self._execution.stats_keys.get(whose) or self._made.get(whose)
        if known is not None:
            return known
        tables = self._execution.tables
        found: int | None = self._execution.scalar(
            statements_stats.stats_key(tables), **dict(zip(_OF_WHOM, whose, strict=True))
        )
        if found is None:
            found = self._made[whose] = self._numbers.next_key(schema_groups.LAST_COUNTERS)
            statement = statements_write.insert(tables.counters, (), ("key", *_OF_WHOM))
            self._execution.write_rows(statement, [(found, *whose)])
            return found
        if len(self._execution.stats_keys) >= ROWS_KNOWN_MAX:
            self._execution.stats_keys.clear()
        self._execution.stats_keys[whose] = found
        return found


def _counted(things: Sequence[T]) -> Iterable[tuple[T, int]]:
    """How many there are of each: in most groups all are alike."""
    kinds = set(things)
    return [(kinds.pop(), len(things))] if len(kinds) == 1 else Counter(things).items()


def _values(sums: Sums, names: Sequence[str]) -> list[int]:
    return [sums.get(name, 0) for name in names]


def _changed(counted: Mapping[int, Sums]) -> dict[int, Sums]:
    """What is not nothing; by key, so that replicas which count at the same time wait for each other in one order."""
    found = {key: {name: more for name, more in counted[key].items() if more} for key in sorted(counted)}
    return {key: sums for key, sums in found.items() if sums}


@lru_cache(maxsize=1024)
def _begins(change: Change) -> bool:
    """Whether an attempt begins with it, so that its batch has begun."""
    return any(event in _BEGINS for event, _ in change.events)
