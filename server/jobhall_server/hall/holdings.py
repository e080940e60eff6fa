"""What the worker of one stream has in its hands, compared with what its beats list and with what the store says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from jobhall.states import JobState
from jobhall_server.domain.job import Lease
from jobhall_server.domain.session import Disposition
from jobhall_server.hall.frames import Cancel, HeldDecision
from jobhall_server.hall.held import HeldTask, LiveProgress, Overdue
from jobhall_server.hall.registry import split_job_type
from jobhall_server.hall.repairs import Repair
from jobhall_server.hall.store import Claimed
from jobhall_server.hall.views import HeldRow


class Holdings:
    """Tasks by their tokens: those that are held, and two kinds that the worker may list though they are not."""

    def __init__(self) -> None:
        self.tasks: dict[bytes, HeldTask] = {}
        """Those that are held, the oldest first."""
        self.progress = LiveProgress()
        self.recorded: set[bytes] = set()
        """Their outcome is on record; the worker does not know yet, and will say it again."""
        self.repairs: Counter[Repair] = Counter()
        self._timed_out: dict[bytes, Cancel] = {}
        self._strays: frozenset[bytes] = frozenset()
        self._marked = 0

    def __bool__(self) -> bool:
        return bool(self.tasks or self.recorded or self._timed_out)

    @property
    def count(self) -> int:
        """How many count against the worker's credit."""
        return len(self.tasks) + len(self.recorded) + len(self._timed_out)

    def facts(self, token: bytes) -> Claimed | HeldRow | None:
        """What is known of a task that is held."""
        task = self.tasks.get(token)
        return None if task is None else task.facts

    def bring(self, tasks: Iterable[HeldTask], decisions: Iterable[HeldDecision]) -> list[bytes]:
        """What the worker brought along with its Hello; answers what it has not started."""
        self.tasks = {task.facts.lease.token(): task for task in tasks}
        for decision in decisions:
            if decision.token not in self.tasks:
                if decision.disposition is Disposition.KEEP:
                    self.recorded.add(decision.token)
                elif decision.cancel is not None:
                    self._timed_out[decision.token] = decision.cancel
        return [token for token, task in self.tasks.items() if not task.started]

    def left_by_type(self, limits: Mapping[str, int]) -> dict[str, int]:
        """What is left of each number, by the name that the worker gave the type."""
        left = dict(limits)
        if left:
            for task in self.tasks.values():
                for spec in left:
                    if split_job_type(spec)[1] == task.job_type:
                        left[spec] -= 1
        return left

    # --- tasks that are not held any more ---

    def drop(self, token: bytes) -> bool:
        """It is not held any more; False when it was not."""
        task = self.tasks.pop(token, None)
        if task is None:
            return False
        self.progress.forget(token, task.facts.lease.job_key)
        return True

    def ended(self, token: bytes) -> None:
        """Its outcome is committed, or refused."""
        self.drop(token)
        if self.recorded or self._timed_out:
            self.recorded.discard(token)
            self._timed_out.pop(token, None)

    def time_out(self, cancel: Cancel) -> bool:
        """Its time was over. Its worker is to be told so until it lists it no more; False when it was not held."""
        if not self.drop(cancel.token):
            return False
        self._timed_out[cancel.token] = cancel
        return True

    # --- beats ---

    def listed(self, tokens: frozenset[bytes], *, seen: int) -> Overdue:
        """The worker says that it has these and no others of the messages up to `seen`; answers what it has not."""
        overdue = Overdue()
        for token, task in self.tasks.items():
            if token not in tokens and not task.ending and task.delivery <= seen:
                task.ending = True
                (overdue.lost if task.started else overdue.unaccepted).append(task.facts.lease)
        self.repairs[Repair.LOST_BY_WORKER] += len(overdue.lost)
        self.repairs[Repair.NEVER_ARRIVED] += len(overdue.unaccepted)
        self.recorded &= tokens
        self._timed_out = {token: cancel for token, cancel in self._timed_out.items() if token in tokens}
        return overdue

    def unknown(self, tokens: frozenset[bytes]) -> list[bytes]:
        """Those of the tokens that are not the worker's."""
        unknown = [*tokens.difference(self.tasks, self.recorded, self._timed_out)]
        self.repairs[Repair.UNKNOWN_HERE] += len(unknown)
        return unknown

    def cancels(self, tokens: frozenset[bytes]) -> list[Cancel]:
        """What is to be stopped of these."""
        held = [task for token in tokens if (task := self.tasks.get(token)) is not None and not task.ending]
        cancels = [task.cancel for task in held if task.cancel is not None]
        return cancels + [cancel for token, cancel in self._timed_out.items() if token in tokens]

    def confirmed(self, seen: int) -> frozenset[int]:
        """Keys of jobs whose delivery the worker has confirmed, by their start or by having seen so many messages."""
        return frozenset(
            task.facts.lease.job_key for task in self.tasks.values() if task.started or task.delivery <= seen
        )

    # --- the store ---

    def mark(self, delivery: int) -> bool:
        """Whether any task is as old as the last mark, or none is held at all; a new mark is set."""
        oldest = next(iter(self.tasks.values()), None)
        marked, self._marked = self._marked, delivery
        return oldest is None or oldest.delivery <= marked

    def missing(self, rows: Mapping[bytes, HeldRow], *, delivery: int) -> list[Lease]:
        """Tasks of the messages up to `delivery` that the store does not know as held, though they are not ending."""
        missing = [
            task.facts.lease
            for token, task in self.tasks.items()
            if task.delivery <= delivery and token not in rows and not task.ending
        ]
        self.repairs[Repair.MOVED_ON_ELSEWHERE] += len(missing)
        return missing

    def cancelled(self, rows: Mapping[bytes, HeldRow]) -> list[HeldRow]:
        """Those that the store knows to be cancelled, and nobody here."""
        known = ((self.tasks.get(token), row) for token, row in rows.items() if row.state is JobState.CANCELLING)
        found = [row for task, row in known if task is not None and task.cancel is None and not task.ending]
        self.repairs[Repair.CANCELLED_ELSEWHERE] += len(found)
        return found

    def strays(self, rows: Mapping[bytes, HeldRow]) -> list[HeldRow]:
        """Those that the store knows and nobody here, though they stood there the last time too."""
        strays = frozenset(rows).difference(self.tasks)
        again, self._strays = strays & self._strays, strays
        self.repairs[Repair.NEVER_DELIVERED] += len(again)
        return [rows[token] for token in again]
