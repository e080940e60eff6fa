"""TaskStream: the tasks of registered classes, one after the other, for a loop of the program's own."""

from __future__ import annotations

import inspect
import logging
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from jobhall.errors import FieldInvalidError
from jobhall.limits import NAMESPACE_ANY
from jobhall.registry.registration import Registration
from jobhall.states import AttemptOutcome
from jobhall.task import StopCause, Task
from jobhall.v1 import task_pb2
from jobhall.worker.access import Access
from jobhall.worker.held import Handler
from jobhall.worker.outcomes import Outcome
from jobhall.worker.pulled import Pull, Pulled, PulledSession
from jobhall.worker.runtime import runtime_info
from jobhall.worker.stream import Introduction

_log = logging.getLogger("jobhall.registry")
_T = TypeVar("_T")
_GONE_SECONDS: Final = 5.0
"""More than a session takes to leave."""
_ENDS: Final[Mapping[type[Outcome], AttemptOutcome]] = {
    task_pb2.TaskCompleted: AttemptOutcome.COMPLETED,
    task_pb2.TaskFailed: AttemptOutcome.FAILED,
    task_pb2.TaskCancelled: AttemptOutcome.CANCELLED,
    task_pb2.TaskReleased: AttemptOutcome.RELEASED,
}


class StreamTask(Task):
    """A task that has come out of a TaskStream. It begins with `run`, and takes reports from there to its end.

    Not begun, it goes back at no cost, to be run elsewhere: with the next one asked for, with the stream's end, and
    after half of the server's `accept_seconds`, 5 s by default.
    """

    def __init__(self, pulled: Pulled, registration: Registration, context: object) -> None:
        super().__init__(pulled.held, pulled.handover)
        self._pulled = pulled
        self._registration = registration
        self._context = context
        self._begun = False

    @property
    def job_class(self) -> type[Any]:
        """The class that is registered for its type."""
        return self._registration.job_class

    def run(self, context: object = None) -> AttemptOutcome:
        """Makes an instance of the class from the parameters, calls its `run(context)`, and reports how that ended.

        What `run` returns is the job's result; what it raises fails the attempt, as in a Worker's handler, and is not
        raised here: the loop goes on. An async `run` is run to its end. One with a parameter `task` is given this
        object too. None as context is that of the JobManager. RELEASED and CANCELLED are also the answer where the task
        was taken back before it could begin; the log says why. KeyboardInterrupt gives it back, and passes.
        """
        if self._begun:
            raise RuntimeError(f"{self!r} was run before")
        self._begun = True
        if not self._pulled.begin():
            return self._withdrawn()
        chosen = self._context if context is None else context
        return _ENDS[type(self._pulled.run(lambda: self._perform(chosen)))]

    def _perform(self, context: object) -> object:
        result = self._registration.perform(self, context)
        return self._pulled.finish(result) if inspect.isawaitable(result) else result

    def _withdrawn(self) -> AttemptOutcome:
        why = self.cancel_reason or "it was not run in time, or the stream has ended, and it went to others"
        _log.warning("%r is not run: %s", self, why)
        cancelled = self.stop_cause is not None and self.stop_cause is not StopCause.LEASE_LOST
        return AttemptOutcome.CANCELLED if cancelled else AttemptOutcome.RELEASED

    def _check_cancelled(self) -> None:
        if not self._begun:
            raise RuntimeError(f"{self!r} has not begun: task.run(context) begins it, and what it runs may report")
        super()._check_cancelled()


class TaskStream(Iterator[StreamTask]):
    """Tasks as they come, each to be run by whoever asked for it: `for task in jobs.listen(): task.run(context)`.

    They come over the worker's stream, with its heartbeats and its cancels; nothing is polled. It asks for one task,
    and only while the loop waits for it, so that a slow loop keeps nothing from others. It is for one thread; for more
    at once call `listen` again. It connects when the first task is asked for, or as a context manager, tries again when
    the server is away, and leaves when it is stopped, closed or nobody has it any more. ApiError where the server says
    that there is no use.
    """

    def __init__(
        self,
        access: Callable[[], Access],
        *,
        worker_name: str,
        namespace: str,
        registrations: Iterable[Registration],
        context: object = None,
        interval: float = 2.0,
    ) -> None:
        if not 0 < interval <= threading.TIMEOUT_MAX:
            most = f"{threading.TIMEOUT_MAX:g} s"
            raise FieldInvalidError("interval", f"is {interval} s; it is more than 0, and at most {most}")
        self.interval = interval
        """The longest that a waiting loop does not look up, in seconds. It is not how often the server is asked, for it
        tells by itself: only a signal that came to another thread may have to wait so long.
        """
        self._access = access
        self._worker_name = worker_name
        self._namespace = namespace
        self._context = context
        self._pull = Pull()
        self._served: dict[bool, dict[str, Registration]] = {False: {}, True: {}}
        """By whether they are public: those are for the jobs of all namespaces, so they have a session of their own."""
        self._handlers: dict[bool, dict[str, Handler]] = {False: {}, True: {}}
        self._sessions: dict[bool, PulledSession] = {}
        self._opened: list[PulledSession] = []
        """Those as well that served what was taken out meanwhile, and have not left yet."""
        self._current: Pulled | None = None
        self._started = False
        self._stopping = False
        self._lock = threading.Lock()
        self._end = weakref.finalize(self, _leave, self._opened, self._pull)
        self.serve(registrations)

    def __next__(self) -> StreamTask:
        """The next task, as soon as there is one; the one before goes back if it was not run."""
        self._give_back()
        if not self._started:
            self._start()
        while (pulled := self._pull.take(look_seconds=self.interval)) is not None:
            registration = self._registration_of(pulled)
            if registration is not None:
                self._current = pulled
                return StreamTask(pulled, registration, self._context)
            pulled.leave(task_pb2.RELEASE_REASON_NOT_MINE, "its class is not registered any more")
        self.close()
        for session in self._opened:
            if session.io.error is not None:
                raise session.io.error
        raise StopIteration

    def stop(self) -> None:
        """Ends the loop, and wakes it where it waits: a task that runs may end, one that does not goes back.

        From any thread, and from a signal handler. It does not wait: when the loop has ended, all is reported.
        """
        self._stopping = True
        self._give_back()
        self._pull.close()

    def close(self) -> None:
        """Stops, and waits until what was run is reported and what was not is given back."""
        self.stop()
        self._end()

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def connected(self) -> bool:
        """Whether the server has welcomed it, and tasks can come."""
        sessions = list(self._sessions.values())
        return bool(sessions) and all(session.io.connected.is_set() for session in sessions)

    def serve(self, registrations: Iterable[Registration]) -> None:
        """From now on tasks of these classes, and no others, come; by the JobManager."""
        chosen = list(registrations)
        with self._lock:
            for public, served in self._served.items():
                here = {it.name: it for it in chosen if it.public is public}
                changed = {it.job_type for it in here.values()} != {it.job_type for it in served.values()}
                _become(served, here)
                _become(self._handlers[public], {name: _handler(name) for name in here})
                if changed and self._started and not self._stopping:
                    self._serve_anew(public)

    def _start(self) -> None:
        with self._lock:
            if not (self._started or self._stopping):
                self._started = True
                for public, served in self._served.items():
                    if served:
                        self._open(public)

    def _serve_anew(self, public: bool) -> None:
        session = self._sessions.get(public)
        if session is None:
            self._open(public)
        elif self._served[public]:
            session.io.introduce(self._introduction(public))
        else:
            # A worker that serves nothing is none.
            del self._sessions[public]
            session.retire()

    def _open(self, public: bool) -> None:
        session = PulledSession(self._pull, self._access(), self._introduction(public), self._handlers[public])
        self._sessions[public] = session
        self._opened[:] = [it for it in self._opened if not it.io.stopped.is_set()] + [session]
        session.io.start()

    def _introduction(self, public: bool) -> Introduction:
        return Introduction(
            worker_name=self._worker_name,
            namespaces=(NAMESPACE_ANY,) if public else (self._namespace,),
            job_types=tuple(it.job_type for it in self._served[public].values()),
            runtime=runtime_info(),
        )

    def _registration_of(self, pulled: Pulled) -> Registration | None:
        name = pulled.held.assignment.job_type
        for public, session in tuple(self._sessions.items()):
            if session.handover is pulled.handover:
                return self._served[public].get(name)
        return None

    def _give_back(self) -> None:
        task, self._current = self._current, None
        if task is not None:
            task.leave(task_pb2.RELEASE_REASON_UNSPECIFIED, "it was not run")


def _leave(sessions: list[PulledSession], pull: Pull) -> None:
    """Also when nobody has the stream any more, and at the program's end."""
    pull.close()
    # One after the other: gRPC stumbles where the last two loops of a process close at the same time.
    for session in tuple(sessions):
        session.io.leave(drain_seconds=0)
        if not threading.current_thread().name.startswith("jobhall-"):
            session.io.stopped.wait(_GONE_SECONDS)


def _become(known: dict[str, _T], wanted: Mapping[str, _T]) -> None:
    """In place, and never without what stays: other threads look things up in it."""
    known.update(wanted)
    for name in known.keys() - wanted.keys():
        del known[name]


def _handler(name: str) -> Handler:
    return Handler(name, _pulled, None, is_async=False)


def _pulled(task: Task) -> None:
    raise AssertionError(f"{task} is run by who pulls it")
