"""The one thread that writes: it takes all units that wait as one commit group, and answers them with one hop."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import timedelta
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, TypeVar

import structlog

from jobhall.errors import DatabaseBusyError, DrainingError, QueueFullError
from jobhall_server.hall.store import Logged, Unit
from jobhall_server.storage.checkpoints import Checkpoints
from jobhall_server.storage.execution import Execution, WrongViewError
from jobhall_server.storage.group import Group, SpoiledGroupError
from jobhall_server.storage.refusals import Outage, Refusal, answer_to, refusal_of, surely_not_committed

T = TypeVar("T")

log = structlog.get_logger(__name__)

GROUP_ROWS_MAX = 2000
"""Rows that a group touches before it is closed; the units left over make the next one."""
GROUP_SECONDS_MAX = 0.02
"""The same for the time spent on loading and deciding."""
WAITING_MAX = 2000
"""Units that may wait before submits and management are refused."""
IDLE_SECONDS = 1.0


class CommitFailedError(RuntimeError):
    """The disk failed at a COMMIT: nobody knows whether it was made, so this process must not go on."""


class _Waiting(NamedTuple):
    unit: Unit[Any]
    answer: asyncio.Future[Any]
    refusable: bool


class _Settled(NamedTuple):
    answer: asyncio.Future[Any]
    result: Any
    error: Exception | None


class _Ran(NamedTuple):
    settled: list[_Settled]
    last_event: int | None
    rows: int
    ended_batches: Sequence[int] = ()
    logged: Logged = ()


class Writer:
    """Owns the write connection from `start` to `stop`. Everything public is called on the loop."""

    def __init__(
        self,
        execution: Execution,
        checkpoints: Checkpoints,
        *,
        now: Callable[[], int],
        on_event: Callable[[int, Logged], None],
        on_batch_end: Callable[[Sequence[int]], None],
        on_fatal: Callable[[BaseException], None],
    ) -> None:
        self._execution = execution
        self._checkpoints = checkpoints
        self._now = now
        self._on_event = on_event
        self._on_batch_end = on_batch_end
        self._on_fatal = on_fatal
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[_Waiting | None] = SimpleQueue()
        self._left: deque[_Waiting] = deque()
        self._stopping = False
        self._stopped = self._loop.create_future()
        self._outage = Outage()
        self._thread = threading.Thread(target=self._work, name="jobhall-writer", daemon=True)

    def start(self) -> None:
        """Begin to take units."""
        self._thread.start()

    def run(self, unit: Unit[T], *, refusable: bool) -> asyncio.Future[T]:
        """Queue a unit; see `hall.store.Store.run`. Whoever awaits it is told of a refusal, like of any error."""
        answer: asyncio.Future[T] = self._loop.create_future()
        if self._stopping:
            answer.set_exception(DrainingError("the server is stopping"))
        elif refusable and self.waiting >= WAITING_MAX:
            full = f"{self.waiting} writes wait already"
            answer.set_exception(QueueFullError(full, retry_after=timedelta(seconds=1)))
        else:
            self._queue.put(_Waiting(unit, answer, refusable))
        return answer

    @property
    def waiting(self) -> int:
        """How many units wait for a group."""
        return self._queue.qsize() + len(self._left)

    async def stop(self) -> None:
        """Take what waits, nothing more, and end the thread."""
        if not self._stopping:
            self._stopping = True
            self._queue.put(None)
        await asyncio.shield(self._stopped)
        self._thread.join()

    # --- on the writer's thread ---

    def _work(self) -> None:
        units: list[_Waiting] = []
        try:
            while units := self._take():
                ran = self._run(units)
                self._hop(self._settle, ran)
                self._checkpoints.after_group(ran.rows)
        except BaseException as error:  # noqa: BLE001 - whatever ends the writer ends the server, loudly
            self._stopping = True
            self._on_fatal(error)
            unknown = DatabaseBusyError("the server stopped while this was being written: it may be done or not")
            self._hop(self._settle, _Ran([_Settled(waiting.answer, None, unknown) for waiting in units], None, 0))
        finally:
            self._hop(self._end)

    def _take(self) -> list[_Waiting]:
        """Units for a group, waiting for the first; none when it is time to stop."""
        taken = [self._left.popleft()] if self._left else self._wait()
        rows = sum(_rows_named(waiting.unit) for waiting in taken)
        while taken and rows < GROUP_ROWS_MAX:
            waiting = self._left.popleft() if self._left else self._next()
            if waiting is None:
                break
            taken.append(waiting)
            rows += _rows_named(waiting.unit)
        return taken

    def _wait(self) -> list[_Waiting]:
        try:
            waiting = self._queue.get(timeout=IDLE_SECONDS)
        except Empty:
            self._checkpoints.run()
            waiting = self._queue.get()
        return [] if waiting is None else [waiting]

    def _next(self) -> _Waiting | None:
        try:
            waiting = self._queue.get_nowait()
        except Empty:
            return None
        if waiting is None:
            # Said again, so that it is heard when the units before it are done.
            self._queue.put(None)
        return waiting

    def _run(self, units: Sequence[_Waiting]) -> _Ran:
        """Run the units as one group; if that fails once more, then each half by itself."""
        failure: Exception
        for _attempt in ("first", "second"):
            try:
                return self._attempt(units)
            except CommitFailedError:
                raise
            except Exception as error:  # noqa: BLE001 - judged below: the database's refusal, or one unit's fault
                failure = error
                self._execution.rollback()
            refusal = refusal_of(failure)
            if refusal is not None:
                return self._refuse(units, refusal, failure)
            log.warning("group_failed", units=len(units), error=repr(failure))
        if len(units) == 1:
            own = failure.cause if isinstance(failure, SpoiledGroupError) else failure
            return _Ran([_Settled(units[0].answer, None, own)], None, 0)
        middle = len(units) // 2
        first, second = self._run(units[:middle]), self._run(units[middle:])
        return _Ran(
            first.settled + second.settled,
            second.last_event or first.last_event,
            first.rows + second.rows,
            [*first.ended_batches, *second.ended_batches],
            [*first.logged, *second.logged],
        )

    def _refuse(self, units: Sequence[_Waiting], refusal: Refusal, failure: Exception) -> _Ran:
        """Answer them that the database refuses. What is little may still fit where submits did not, and reports and
        claims are run once more without them.
        """
        self._outage.refused(refusal, failure)
        kept: list[_Waiting] = []
        if refusal is Refusal.FULL:
            self._checkpoints.make_room()
            kept = [waiting for waiting in units if not waiting.refusable]
        again = kept if len(kept) < len(units) else []
        ran = self._run(again) if again else _Ran([], None, 0)
        refused = [
            _Settled(waiting.answer, None, answer_to(refusal, failure))
            for waiting in units
            if waiting.refusable or not again
        ]
        return ran._replace(settled=refused + ran.settled)

    def _attempt(self, units: Sequence[_Waiting]) -> _Ran:
        """One transaction."""
        changes_before = self._execution.changes
        self._execution.begin()
        until = time.monotonic() + GROUP_SECONDS_MAX
        group = Group(self._execution, now=self._now())
        group.load(waiting.unit for waiting in units)
        settled: list[_Settled] = []
        late: list[_Waiting] = []
        left: list[_Waiting] = []
        for waiting in units:
            if waiting.unit.after_save:
                late.append(waiting)
            elif settled and (group.touched >= GROUP_ROWS_MAX or time.monotonic() > until):
                left.append(waiting)
            else:
                settled.append(_decide(group, waiting))
        group.save()
        settled += [_decide(group, waiting) for waiting in late]
        last_event = group.finish()
        self._commit()
        if self._execution.changes > changes_before:
            self._outage.written()
        self._left.extendleft(reversed(left))
        return _Ran(settled, last_event, group.touched, group.ended_batches, group.logged)

    def _commit(self) -> None:
        try:
            self._execution.commit()
        except sqlite3.Error as error:
            if surely_not_committed(error):
                raise
            raise CommitFailedError(str(error)) from error

    def _hop(self, call: Callable[..., None], *arguments: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(call, *arguments)
        except RuntimeError:
            # The loop is closed: nobody waits for an answer any more.
            self._stopping = True

    # --- on the loop ---

    def _settle(self, ran: _Ran) -> None:
        for answer, result, error in ran.settled:
            if answer.done():
                continue
            if error is None:
                answer.set_result(result)
            else:
                answer.set_exception(error)
        if ran.last_event is not None:
            self._on_event(ran.last_event, ran.logged)
        if ran.ended_batches:
            self._on_batch_end(ran.ended_batches)

    def _end(self) -> None:
        while self.waiting:
            waiting = self._left.popleft() if self._left else self._queue.get_nowait()
            if waiting is not None and not waiting.answer.done():
                waiting.answer.set_exception(DrainingError("the server is stopping"))
        if not self._stopped.done():
            self._stopped.set_result(None)


def _decide(group: Group, waiting: _Waiting) -> _Settled:
    """Let the unit decide; what it raises is its caller's, but the database's own errors are the group's."""
    try:
        return _Settled(waiting.answer, group.decide(waiting.unit), None)
    except (sqlite3.Error, WrongViewError, SpoiledGroupError):
        raise
    except Exception as error:  # noqa: BLE001 - handed to whoever awaits the unit
        return _Settled(waiting.answer, None, error)


def _rows_named(unit: Unit[Any]) -> int:
    return 1 + len(unit.job_keys) + len(unit.job_ids)
