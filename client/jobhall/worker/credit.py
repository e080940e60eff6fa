"""How many tasks a worker asks for: as many as it runs at once, and as many ahead as keep it busy, no more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from jobhall.limits import CAPACITY_MAX
from jobhall.v1.task_pb2 import Capacity, TypeCapacity

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
        self._concurrency = concurrency
        self._prefetch_max = prefetch_max
        self._limits = limits
        """Of those types that have one: how many of their tasks run at once."""
        self._mean_seconds: float | None = None
        self._done_count = 0
        self._prefetch = 0
        self._check_at = 0.0
        self.tasks_max = CAPACITY_MAX
        """What the server allows at most."""
        self.paused = False
        """Nothing more is wanted: the worker leaves."""
        self.full = False
        """Nothing more is wanted until the server has confirmed some of what it was told."""

    def note(self, *, seconds: float, count: int) -> None:
        """So many handlers took so long together."""
        mean = seconds / count
        self._done_count += count
        if self._mean_seconds is None:
            self._mean_seconds, self._check_at = mean, 0.0
        else:
            self._mean_seconds += _WEIGHT_OF_NEW * (mean - self._mean_seconds)

    def check(self, now: float, *, running_since: Iterable[float]) -> None:
        """Sets the prefetch anew, if it is time; `running_since` is when each running task began."""
        if self._mean_seconds is None or now < self._check_at:
            return
        self._check_at = now + CHECK_INTERVAL_SECONDS
        stuck_before = now - max(LOOK_AHEAD_SECONDS, self._mean_seconds)
        free = self._concurrency - sum(1 for began_at in running_since if began_at < stuck_before)
        wanted = int(max(0, free) * LOOK_AHEAD_SECONDS / max(self._mean_seconds, _SHORTEST_SECONDS))
        wanted = min(self._prefetch_max, wanted, self._done_count * _GROWTH)
        # A message for each small change would cost more than it gains.
        if wanted in (0, self._prefetch_max) or not self._prefetch / 2 < wanted < self._prefetch * 2:
            self._prefetch = wanted

    @property
    def check_at(self) -> float | None:
        """When to check again though nothing happens: a prefetch may be too much for tasks that take long now."""
        return self._check_at if self._prefetch else None

    def capacity(self, *, zombies: int) -> Capacity:
        """What the worker may hold; `zombies` run on though their leases are lost."""
        if self.paused or self.full:
            return Capacity()
        total = min(self.tasks_max, max(0, self._concurrency + self._prefetch - zombies))
        ahead = self._prefetch / self._concurrency
        return Capacity(
            tasks_max=total,
            types=[
                TypeCapacity(job_type=job_type, tasks_max=min(total, limit + int(limit * ahead)))
                for job_type, limit in self._limits.items()
            ],
        )
