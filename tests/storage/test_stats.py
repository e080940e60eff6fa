"""The kept counters: whatever happens, in whatever groups, they are what counting the rows would say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jobhall.states import TERMINAL_STATES, JobState
from jobhall_server.domain import moves
from jobhall_server.domain.access import ANYBODY, Principal
from jobhall_server.domain.batch import COUNTED_STATES, Counts, NewBatch
from jobhall_server.domain.imports import settled
from jobhall_server.domain.job import JobRecord, Lease, NewJob
from jobhall_server.domain.progress import Progress
from jobhall_server.hall.store import Group, Home, Unit, Want
from tests.storage.test_group_properties import STEPS, acting, open_session, take
from tests.support.groups import Groups, groups_in_memory
from tests.support.job_views import job_view
from tests.support.stores import START_US, Act, Floor, SetClock, claim_unit

MINUTE_US = 60_000_000
WHOSE = (("ann", "acme"), ("bob", "acme"), ("cid", ""))
STATE_NAMES = ", ".join(Counts._fields)

NEWEST_TOTALS = (
    "SELECT job_key, json_extract(data, '$.total') FROM jobhall_progress AS p "
    "WHERE fence = (SELECT max(fence) FROM jobhall_progress WHERE job_key = p.job_key)"
)
"""What each job's newest report says of its items in all."""

steps = st.tuples(st.just("step"), st.integers(0, 9), st.sampled_from(STEPS), st.integers(2, 9))
submits = st.tuples(st.just("submit"), st.integers(0, 2), st.integers(0, 2), st.booleans())
claims = st.tuples(st.just("claim"), st.integers(1, 4))
removals = st.tuples(st.sampled_from(["delete", "purge"]), st.integers(0, 9))
reports = st.tuples(st.just("report"), st.integers(0, 9), st.integers(0, 5), st.integers(0, 5))
ENDED_US = START_US - 5
imports = st.tuples(
    st.just("import"), st.integers(0, 2), st.integers(0, 2), st.sampled_from([s for s in COUNTED_STATES if not s.held])
)
failures = st.tuples(st.just("submit and raise"), st.integers(0, 2), st.integers(0, 2))
histories = st.lists(
    st.lists(st.one_of(submits, imports, claims, steps, steps, removals, reports, failures), min_size=1, max_size=6),
    min_size=1,
    max_size=8,
)
"""Groups, each of the acts of some units."""


class Kept:
    """A database with two batches, of which the first is closed, and jobs in several states; and what purges took from
    it, by batch and owner.
    """

    def __init__(self, groups: Groups) -> None:
        self.groups = groups
        self.session = open_session(groups)
        self.batches: list[int | None] = [None]
        news = (NewBatch("a" * 32, 1, "n", closed=True), NewBatch("b" * 32, 1, "n"))
        self.batches += groups.act(lambda group: [group.open_batch(new).key for new in news])
        groups.act(lambda group: group.namespace_key("n"))
        self.purged: Counter[tuple[int | None, JobState]] = Counter()
        self.purged_of: Counter[tuple[str, JobState]] = Counter()
        self.purged_items: Counter[int | None] = Counter()
        self.jobs = 0
        submitted = [self.act(("submit", place % 3, place % 2, False)) for place in range(6)]
        groups.run([*submitted, self.act(("claim", 5))])
        groups.run([self.act(("step", 0, "complete", 2)), self.act(("step", 1, "complete", 2))])
        groups.run(
            [self.act(("step", 2, "fail", 3)), self.act(("report", 3, 5, 2)), self.act(("step", 3, "accept", 2))]
        )

    def act(self, act: tuple[Any, ...]) -> Unit[Any]:
        """The unit of that act."""
        match act:
            case "submit", batch, whose, scheduled:
                return Act(self._submit(batch, whose, scheduled=scheduled))
            case "import", batch, whose, state:
                return Act(self._import(batch, whose, state))
            case "submit and raise", batch, whose:
                return Act(_raising(self._submit(batch, whose)))
            case "claim", count:
                return claim_unit(Want(self.session.key, 1, count, 7, "w", ((1, count),)))
        keys = [key for (key,) in self.groups.rows("SELECT key FROM jobhall_jobs ORDER BY key")]
        if not keys:
            return Act(lambda _group: None)
        key = keys[act[1] % len(keys)]
        return Act(self._on_a_job(key, act), job_keys=[key])

    def _submit(self, batch: int, whose: int, *, scheduled: bool = False) -> Callable[[Group], object]:
        self.jobs += 1
        owner, organization_id = WHOSE[whose]
        new = NewJob(
            f"{self.jobs:032x}",
            1,
            1,
            owner=owner,
            organization_id=organization_id,
            batch_key=self.batches[batch],
            schedule_at=START_US * 2 if scheduled else None,
        )
        return lambda group: group.insert_job(new)

    def _import(self, batch: int, whose: int, state: JobState) -> Callable[[Group], object]:
        self.jobs += 1
        owner, organization_id = WHOSE[whose]
        job = job_view(
            state,
            job_id=f"{self.jobs:032x}",
            owner=owner,
            organization_id=organization_id,
            started_at=ENDED_US,
            ended_at=ENDED_US if state.terminal else None,
            schedule_at=START_US * 2,
            fence=1,
        )
        told = Progress(total=7, processed=2)
        home = Home(1, 1, self.batches[batch])

        def decide(group: Group) -> None:
            arrived, attempts = settled(job, [], group.now)
            record = group.import_job(arrived, attempts, home)
            group.save_progress(record.key, 1, told)

        return decide

    def _on_a_job(self, key: int, act: tuple[Any, ...]) -> Callable[[Group], object]:
        def decide(group: Group) -> None:
            job = group.job(key)
            if job is None:
                return
            match act:
                case "step", _, step, digest:
                    take(group, Lease(key, job.fence, job.nonce), step, digest)
                case "report", _, total, processed:
                    group.save_progress(key, job.fence, Progress(total=total, processed=processed, succeeded=1))
                case ("delete" | "purge" as verb, _) if moves.delete(job) is None:
                    self._remove(group, job, purged=verb == "purge" and job.state in TERMINAL_STATES)

        return decide

    def _remove(self, group: Group, job: JobRecord, *, purged: bool) -> None:
        group.delete_job(job, purged=purged)
        if purged:
            [(owner,)] = self.groups.rows(f"SELECT owner FROM jobhall_jobs WHERE key = {job.key}")
            self.purged[job.batch_key, job.state] += 1
            self.purged_of[owner, job.state] += 1
            self.purged_items[job.batch_key] += dict(self.groups.rows(NEWEST_TOTALS)).get(job.key, 0)

    # --- what the counters say, and what counting says ---

    def kept_of_owners(self) -> dict[str, tuple[int, ...]]:
        removed = "removed_completed, removed_failed, removed_cancelled"
        rows = self.groups.rows(f"SELECT owner, {STATE_NAMES}, {removed} FROM jobhall_counters")
        return {owner: tuple(counts) for owner, *counts in rows if any(counts)}

    def counted_of_owners(self) -> dict[str, tuple[int, ...]]:
        found = Counter(
            (owner, state)
            for owner, state in self.groups.rows(
                "SELECT s.owner, j.state FROM jobhall_jobs j JOIN jobhall_counters s ON s.key = j.stats_key "
                "AND s.owner = j.owner AND s.organization_id = j.organization_id AND s.queue_key = j.queue_key"
            )
        )
        ended = [state for state in COUNTED_STATES if state.terminal]
        counted = {
            owner: (
                *(found[owner, state] for state in COUNTED_STATES),
                *(self.purged_of[owner, state] for state in ended),
            )
            for owner, _ in WHOSE
        }
        return {owner: counts for owner, counts in counted.items() if any(counts)}

    def kept_of_batches(self) -> dict[int, tuple[int, ...]]:
        return {
            key: tuple(counts) for key, *counts in self.groups.rows(f"SELECT key, {STATE_NAMES} FROM jobhall_batches")
        }

    def counted_of_batches(self) -> dict[int, tuple[int, ...]]:
        found = Counter(self.groups.rows("SELECT batch_key, state FROM jobhall_jobs")) + self.purged
        return {key: tuple(found[key, state] for state in COUNTED_STATES) for key in self.batches if key is not None}

    def counted_items(self) -> dict[int, int]:
        of_jobs = dict(self.groups.rows(NEWEST_TOTALS))
        found = Counter(self.purged_items)
        for key, batch_key in self.groups.rows("SELECT key, batch_key FROM jobhall_jobs"):
            found[batch_key] += of_jobs.get(key, 0)
        return {key: found[key] for key in self.batches if key is not None}

    def assert_right(self) -> None:
        assert dict(self.groups.rows("SELECT key, items_total FROM jobhall_batches")) == self.counted_items()
        assert self.kept_of_owners() == self.counted_of_owners()
        assert self.kept_of_batches() == self.counted_of_batches()
        for key, closed, ended_at in self.groups.rows("SELECT key, closed, ended_at FROM jobhall_batches"):
            waiting = sum(self.kept_of_batches()[key][:5])
            assert (ended_at is not None) == (bool(closed) and not waiting)


def _raising(decide: Callable[[Group], object]) -> Callable[[Group], None]:
    def decide_and_raise(group: Group) -> None:
        decide(group)
        raise ValueError

    return decide_and_raise


@settings(max_examples=120)
@given(histories)
# What has ended is taken away again.
@example([[("delete", 0)], [("step", 2, "retry", 2), ("step", 2, "cancel", 2)], [("purge", 1)]])
# Two row writes of one job in a group: the failure that was told is taken back by the retry.
@example([[("step", 3, "fail", 3), ("step", 3, "retry", 2)]])
# A job that is as new as what moves it: its record does not know yet where it is counted.
@example([[("submit", 1, 0, False), ("claim", 1), ("step", 0, "cancel", 2)], [("step", 0, "fall_due", 2)]])
# What comes from elsewhere ended there, and goes on here.
@example([[("import", 1, 0, JobState.FAILED)], [("step", 6, "retry", 2), ("import", 2, 1, JobState.COMPLETED)]])
@example([[("submit", 1, 0, True)], [("step", 0, "cancel", 2), ("step", 0, "retry", 2), ("step", 0, "cancel", 2)]])
def test_the_counters_are_what_counting_the_jobs_would_say(history: list[list[tuple[Any, ...]]]) -> None:
    with groups_in_memory() as groups:
        kept = Kept(groups)

        for acts in history:
            groups.run([kept.act(act) for act in acts])

            kept.assert_right()


def test_a_job_that_is_moved_and_deleted_by_the_group_that_submits_it_counts_nowhere() -> None:
    with groups_in_memory() as groups:
        kept = Kept(groups)

        def decide(group: Group) -> None:
            news = [NewJob(f"{number:032x}", 1, 1, owner=f"new-{number}") for number in (101, 102, 103)]
            keys = [group.insert_job(new) for new in news]
            for key in keys[1:]:
                take(group, Lease(key, 0, 0), "cancel", 2)
            gone = group.job(keys[2])
            assert gone is not None
            group.delete_job(gone)

        groups.act(decide)

        found = {owner: counts for owner, counts in kept.kept_of_owners().items() if owner.startswith("new")}
        nothing_removed = (0, 0, 0)
        assert found == {
            "new-101": (*Counts(pending=1), *nothing_removed),
            "new-102": (*Counts(cancelled=1), *nothing_removed),
        }


async def ended(floor: Floor, count: int, **fields: Any) -> list[int]:
    """So many jobs that are COMPLETED."""
    keys = await floor.submit(count, **fields)
    session = await floor.session()
    [given] = await floor.claim(floor.want(session, count))
    for job in given:
        await floor.store.run(acting(job.lease, "complete", 2))
    return keys


async def test_a_caller_is_told_of_what_exists_for_them(floor: Floor) -> None:
    await floor.submit(2, owner="ann", organization_id="acme")
    await floor.submit(3, owner="bob")

    async def pending(principal: Principal, **asked: Any) -> list[int]:
        found = await floor.store.reads.stats(principal, "default", **asked)
        return [queue.counts.pending for queue in found]

    assert await pending(ANYBODY) == [5]
    assert await pending(Principal("bob")) == [3]
    assert await pending(Principal("zoe", organization_id="acme")) == [2]
    assert await pending(Principal("zoe")) == []
    assert await pending(ANYBODY, owner="bob") == [3]
    assert await pending(ANYBODY, job_types=("other",)) == []
    assert await pending(ANYBODY, job_types=("other", "score")) == [5]
    assert await floor.store.reads.stats(ANYBODY, "elsewhere") == []


async def test_purged_jobs_are_counted_among_the_removed_ones(floor: Floor) -> None:
    keys = await ended(floor, 3)

    def purge(group: Group) -> None:
        for key in keys[:2]:
            job = group.job(key)
            assert job is not None
            group.delete_job(job, purged=True)

    await floor.store.run(Act(purge, job_keys=keys))

    [queue] = await floor.store.reads.stats(ANYBODY, None)
    assert (queue.counts, queue.removed) == (Counts(completed=1), Counts(completed=2))


@pytest.mark.parametrize(
    ("seconds_later", "per_second"),
    [(0, 6 / 60), (59, 6 / 60), (60, 6 / 60), (75, 4.5 / 60), (119, 0.1 / 60), (120, 0)],
)
async def test_the_rate_is_over_about_the_last_minute(
    floor: Floor, clock: SetClock, seconds_later: int, per_second: float
) -> None:
    clock.at = START_US - START_US % MINUTE_US
    await ended(floor, 6)

    clock.at += seconds_later * 1_000_000

    [queue] = await floor.store.reads.stats(ANYBODY, None)
    assert queue.completed_per_second == pytest.approx(per_second)
    assert queue.failed_per_second == 0


async def test_the_oldest_waiting_job_is_found_behind_those_of_other_priorities(floor: Floor, clock: SetClock) -> None:
    await floor.submit(1, priority=-5)
    for priority in (0, 7, 7, 3):
        clock.at += 1_000_000
        await floor.submit(1, priority=priority)

    [queue] = await floor.store.reads.stats(ANYBODY, None)
    assert queue.oldest_ready_at == START_US
