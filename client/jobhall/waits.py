"""Who waits for the end of which jobs, and the watches that tell of it: decisions only, shared by both clients."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from jobhall.errors import ApiError, JobNotFoundError
from jobhall.limits import WATCH_JOB_IDS_MAX
from jobhall.model import Job, Jobs
from jobhall.model_events import WatchUpdate
from jobhall.retry import CallRetry, passes
from jobhall.states import EventType, JobState
from jobhall.watching import WatchOptions, WatchPlace

CALLS_MAX = 1
"""Waits of one client that each hold a call open, which tells of the end with one answer; the others share a watch."""
MERGE_RATIO = 8
"""A new watch takes over those that are at most so many times larger, so that there are ever but a few."""
BATCHES_MAX = 8
"""Watches of one client that each tell of the end of a batch; who waits for more of them looks by and by."""
ENDS = (EventType.COMPLETED, EventType.FAILED, EventType.CANCELLED, EventType.DELETED, EventType.LEFT)

Outcome = Job | ApiError
"""The job, which has ended, or why there is nothing to wait for."""


class Waiter:
    """One wait for some jobs, or for a batch; its client is told when there is something to look at."""

    def __init__(self, job_ids: Iterable[str]) -> None:
        self.outcomes: dict[str, Outcome] = {}
        self.settled = False
        """All its jobs have ended, or one badly; the watch of its batch has ended."""
        self.refused = False
        """There is no watch for it: it has to ask for itself."""
        self._left = dict.fromkeys(job_ids)
        self._notify: Callable[[], object] = bool

    @property
    def left(self) -> Sequence[str]:
        """Those that have not ended, in their order."""
        return [*self._left]

    @property
    def ready(self) -> bool:
        """Whether there is no more to wait for here."""
        return self.settled or self.refused

    def listen(self, notify: Callable[[], object]) -> None:
        """Has `notify` called, in whichever thread, once it is ready; at once where it is."""
        # Set and asked in this order, and by those below in the other one: no thread has to lock.
        self._notify = notify
        if self.ready:
            notify()

    def tell(self, job_id: str, outcome: Outcome) -> None:
        """One of its jobs has ended, or is not there."""
        self.outcomes[job_id] = outcome
        self._left.pop(job_id, None)
        if not self._left or isinstance(outcome, ApiError) or not outcome.succeeded:
            self.settle()

    def settle(self) -> None:
        """There is nothing more to wait for."""
        self.settled = True
        self._notify()

    def refuse(self) -> None:
        """The watch is not to be had."""
        self.refused = True
        self._notify()


@dataclass(eq=False, slots=True)
class Group:
    """The jobs of one watch; ids are taken out as they end, and when none is left the watch is stopped."""

    place: WatchPlace
    job_ids: set[str]
    seen: set[str] = field(default_factory=set)
    """Those that the snapshot under way has told of."""
    whole: bool = False
    """The snapshot was told: what is not in it is not there."""
    waiter: Waiter | None = None
    """Who waits for the batch, where it is the watch of one: it ends with the batch."""


@dataclass(eq=False, slots=True)
class _Awaited:
    waiters: list[Waiter]
    state: JobState = JobState.UNSPECIFIED
    group: Group | None = None


class Waits:
    """All waits of one client. A driver opens the watches that it asks for and tells it what comes.

    The ids of a watch cannot be changed. So jobs that come later get a watch of their own, one at a time, which takes
    over those of small watches: there is one for a thousand waits that begin together, and never more than a few.
    """

    def __init__(self, policy: CallRetry) -> None:
        self._policy = policy
        self._lock = threading.RLock()
        self._calls = 0
        self._awaited: dict[str, _Awaited] = {}
        self._pending: dict[str, None] = {}
        """Jobs that no watch names yet, in their order."""
        self._groups: list[Group] = []
        self._batches: dict[Waiter, Group] = {}
        self._pending_batches: dict[Waiter, Group] = {}
        self._opening = False

    # --- who waits ---

    @contextmanager
    def waiting_alone(self) -> Iterator[bool]:
        """Whether this wait may hold a call open until the block ends; else it had better share the watch."""
        with self._lock:
            alone = self._calls < CALLS_MAX
            self._calls += alone
        try:
            yield alone
        finally:
            with self._lock:
                self._calls -= alone

    @contextmanager
    def waiting_for(self, job_ids: Sequence[str]) -> Iterator[Waiter]:
        """Waits for these until the block ends; by their canonical ids."""
        waiter = Waiter(job_ids)
        with self._lock:
            for job_id in waiter.left:
                self._add(job_id, waiter)
        try:
            yield waiter
        finally:
            with self._lock:
                # All of them: of some it may have been told by its own look, and not by a watch.
                for job_id in job_ids:
                    self._leave(job_id, waiter)

    @contextmanager
    def waiting_for_batch(self, batch_id: str) -> Iterator[Waiter]:
        """Waits for the end of the batch until the block ends; it is ready when there is something to look at."""
        waiter = Waiter(())
        options = WatchOptions(batch_id=batch_id, event_types=[EventType.LEFT], stop_when_terminal=True)
        group = Group(WatchPlace(options, self._policy), set(), waiter=waiter)
        with self._lock:
            if len(self._batches) < BATCHES_MAX:
                self._batches[waiter] = self._pending_batches[waiter] = group
            else:
                waiter.refuse()
        try:
            yield waiter
        finally:
            group.place.stop()
            with self._lock:
                self._batches.pop(waiter, None)
                self._pending_batches.pop(waiter, None)

    def state(self, job_id: str) -> JobState:
        """The state that a watch last told of; UNSPECIFIED where none has."""
        with self._lock:
            awaited = self._awaited.get(job_id)
            return JobState.UNSPECIFIED if awaited is None else awaited.state

    def listening(self, waiter: Waiter) -> bool:
        """Whether open watches will tell of all that it still waits for, so that there is no need to ask."""
        with self._lock:
            places = {it.group for job_id in waiter.left if (it := self._awaited.get(job_id)) is not None}
            return not waiter.refused and all(
                group is not None and group.whole and group.place.open for group in places
            )

    # --- the watches ---

    def wants_watch(self) -> bool:
        """Whether a watch is to be opened now: begin it with `next_group`. Not said again until that one is open."""
        with self._lock:
            wanted = bool(self._pending or self._pending_batches) and not self._opening
            self._opening = self._opening or wanted
            return wanted

    def next_group(self) -> Group | None:
        """The jobs of the watch to open; None where nobody waits any more."""
        with self._lock:
            for waiter in self._pending_batches:
                return self._pending_batches.pop(waiter)
            job_ids = set([*self._pending][:WATCH_JOB_IDS_MAX])
            for group in sorted(self._groups, key=lambda group: len(group.job_ids)):
                size = len(group.job_ids)
                if size > MERGE_RATIO * len(job_ids) or size + len(job_ids) > WATCH_JOB_IDS_MAX:
                    break
                job_ids |= group.job_ids
                self._forget(group)
            if not job_ids:
                self._opening = False
                return None
            for job_id in job_ids:
                self._pending.pop(job_id, None)
            options = WatchOptions(
                job_ids=sorted(job_ids), event_types=ENDS, include_snapshot=True, reset_when_expired=True
            )
            new = Group(WatchPlace(options, self._policy), job_ids)
            self._groups.append(new)
            for job_id in job_ids:
                self._awaited[job_id].group = new
            return new

    def take(self, group: Group, update: WatchUpdate) -> Sequence[str]:
        """Takes note of what the watch says; those that are to be read whole, since they have ended or are gone."""
        with self._lock:
            if group.waiter is not None:
                group.whole, self._opening = True, False
                return ()
            if update.reset:
                group.whole = False
                group.seen.clear()
            ended = []
            for job in update.jobs:
                group.seen.add(job.id)
                if (awaited := self._awaited.get(job.id)) is not None:
                    awaited.state = job.state
                    if job.done:
                        ended.append(job.id)
            ended += [event.job_id for event in update.events if event.job_id in self._awaited]
            if update.snapshot_complete:
                for job_id in group.job_ids - group.seen:
                    self._settle(job_id, JobNotFoundError(job_id))
                group.seen.clear()
                group.whole = True
                self._opening = False
            return ended

    def settle(self, jobs: Jobs) -> None:
        """Tells those who wait for them; one that was retried meanwhile has not ended."""
        with self._lock:
            for job in jobs:
                if job.done:
                    self._settle(job.id, job)
            for job_id in jobs.missing_ids:
                self._settle(job_id, JobNotFoundError(job_id))

    def fail(self, group: Group, error: ApiError) -> None:
        """The watch was given up: by a refusal, which leaves all to ask for themselves, or since nobody ever answered.

        The latter is the answer to those who were told nothing before; the others wait on, as long as it takes.
        """
        with self._lock:
            if group.waiter is not None:
                group.waiter.refuse()
            if not passes(error):
                return
            for job_id in [*group.job_ids]:
                if self._awaited[job_id].state is JobState.UNSPECIFIED:
                    self._settle(job_id, error)
                else:
                    self._awaited[job_id].group = None
                    self._pending[job_id] = None
            group.job_ids.clear()

    def close(self, group: Group) -> None:
        """The watch has ended, however; those who still rely on it have to ask for themselves."""
        with self._lock:
            self._opening = self._opening and group.whole
            if group.waiter is not None:
                group.waiter.settle()
            for job_id in group.job_ids:
                for waiter in self._awaited.pop(job_id).waiters:
                    waiter.refuse()
            self._forget(group)

    # --- inside, under the lock ---

    def _add(self, job_id: str, waiter: Waiter) -> None:
        awaited = self._awaited.get(job_id)
        if awaited is None:
            awaited = self._awaited[job_id] = _Awaited([])
            self._pending[job_id] = None
        awaited.waiters.append(waiter)

    def _leave(self, job_id: str, waiter: Waiter) -> None:
        awaited = self._awaited.get(job_id)
        if awaited is None or waiter not in awaited.waiters:
            return
        awaited.waiters.remove(waiter)
        if not awaited.waiters:
            self._drop(job_id)

    def _settle(self, job_id: str, outcome: Outcome) -> None:
        for waiter in self._drop(job_id):
            waiter.tell(job_id, outcome)

    def _drop(self, job_id: str) -> Sequence[Waiter]:
        awaited = self._awaited.pop(job_id, None)
        if awaited is None:
            return ()
        self._pending.pop(job_id, None)
        if awaited.group is not None:
            awaited.group.job_ids.discard(job_id)
            if not awaited.group.job_ids:
                awaited.group.place.stop()
        return awaited.waiters

    def _forget(self, group: Group) -> None:
        """The group has no part in anything any more."""
        group.job_ids = set()
        group.place.stop()
        if group in self._groups:
            self._groups.remove(group)
