"""How many tasks a worker asks for: as many as it runs at once, and as many ahead as keep it busy, no more."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from jobhall.limits import CAPACITY_MAX
from jobhall.v1.task_pb2 import Capacity, TypeCapacity
from jobhall.worker.held import HeldTask, bare_name

LOOK_AHEAD_SECONDS: Final = 0.1
"""Work to have at hand: many round trips of the shortest jobs, nothing of those that another worker could begin now."""
CHECK_INTERVAL_SECONDS: Final = 0.02
_GROWTH: Final = 4
"""So many tasks ahead for each one done, at most: one quick failure proves nothing of the next thousand."""
_WEIGHT_OF_NEW: Final = 0.3
_SHORTEST_SECONDS: Final = 1e-6


class Credit:
    """The capacity to tell the server. What it prefetches follows from how long handlers take: nothing while unknown.

    A prefetched task waits here while another worker might be idle, and goes back when it waits too long.
    """

    def __init__(self, *, concurrency: int, prefetch_max: int, limits: Mapping[str, int]) -> None:
        self._all = _Ahead(runners=concurrency, prefetch_max=prefetch_max)
        self._limited = {
            job_type: (bare_name(job_type), _Ahead(runners=limit, prefetch_max=prefetch_max))
            for job_type, limit in limits.items()
        }
        """Those types that may run but so many of their tasks at once, by the name in the Hello: the bare one, and how
        many wait. Each has its own pace: quick handlers beside it do not make it quick.
        """
        self.tasks_max = CAPACITY_MAX
        """What the server allows at most."""
        self.paused = False
        """Nothing more is wanted: the worker leaves."""
        self.full = False
        """Nothing more is wanted until the server has confirmed some of what it was told."""

    def note(self, ran: Collection[HeldTask]) -> None:
        """The handlers of those tasks are done."""
        self._all.note([task.seconds for task in ran])
        for name, ahead in self._limited.values():
            ahead.note([task.seconds for task in ran if task.handler.job_type == name])

    def check(self, now: float, *, running: Mapping[HeldTask, float]) -> None:
        """Sets the prefetch anew, where it is time; `running` is what runs, and when each began."""
        self._all.check(now, running.values())
        for name, ahead in self._limited.values():
            ahead.check(now, (began_at for task, began_at in running.items() if task.handler.job_type == name))

    @property
    def check_at(self) -> float | None:
        """When to check again though nothing happens: a prefetch may be too much for tasks that take long now."""
        times = [ahead.check_at for _, ahead in self._limited.values() if ahead.prefetch]
        if self._all.prefetch:
            times.append(self._all.check_at)
        return min(times, default=None)

    def capacity(self, *, zombies: Mapping[str, int]) -> Capacity:
        """What the worker may hold; `zombies`: of each type, how many run on though their leases are lost."""
        if self.paused or self.full:
            return Capacity()
        total = min(self.tasks_max, self._all.wanted(zombies=sum(zombies.values())))
        return Capacity(
            tasks_max=total,
            types=[
                TypeCapacity(job_type=job_type, tasks_max=min(total, ahead.wanted(zombies=zombies.get(name, 0))))
                for job_type, (name, ahead) in self._limited.items()
            ],
        )


class _Ahead:
    """How many tasks are wanted for so many runners: theirs, and a little work ahead where it is short."""

    def __init__(self, *, runners: int, prefetch_max: int) -> None:
        self._runners = runners
        self._prefetch_max = prefetch_max
        self._mean_seconds: float | None = None
        self._done_count = 0
        self.prefetch = 0
        self.check_at = 0.0

    def wanted(self, *, zombies: int) -> int:
        """How many in all, where so many runners are not to be had."""
        return max(0, self._runners + self.prefetch - zombies) if zombies < self._runners else 0

    def note(self, seconds: Sequence[float]) -> None:
        """So long handlers took."""
        if not seconds:
            return
        mean = sum(seconds) / len(seconds)
        self._done_count += len(seconds)
        if self._mean_seconds is None:
            self._mean_seconds, self.check_at = mean, 0.0
        else:
            self._mean_seconds += _WEIGHT_OF_NEW * (mean - self._mean_seconds)

    def check(self, now: float, running_since: Iterable[float]) -> None:
        """Sets the prefetch anew, if it is time."""
        if self._mean_seconds is None or now < self.check_at:
            return
        self.check_at = now + CHECK_INTERVAL_SECONDS
        stuck_before = now - max(LOOK_AHEAD_SECONDS, self._mean_seconds)
        free = self._runners - sum(1 for began_at in running_since if began_at < stuck_before)
        wanted = int(max(0, free) * LOOK_AHEAD_SECONDS / max(self._mean_seconds, _SHORTEST_SECONDS))
        wanted = min(self._prefetch_max, wanted, self._done_count * _GROWTH)
        # A message for each small change would cost more than it gains.
        if wanted in (0, self._prefetch_max) or not self.prefetch / 2 < wanted < self.prefetch * 2:
            self.prefetch = wanted
