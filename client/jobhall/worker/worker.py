"""The worker: registers handlers for job types, and runs the jobs that the server gives it."""

from __future__ import annotations

import asyncio
import inspect
import signal
import threading
from collections.abc import Callable, Iterable, Mapping
from types import FrameType, MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from jobhall.limits import CAPACITY_MAX, DRAIN_TIMEOUT, NAMESPACE_DEFAULT
from jobhall.task import Task
from jobhall.worker.access import Access, TokenSource
from jobhall.worker.credit import Credit
from jobhall.worker.crew import Crew
from jobhall.worker.handover import Handover
from jobhall.worker.held import Handler, bare_name
from jobhall.worker.io import WorkerIO
from jobhall.worker.runtime import name_by_default, runtime_info, within_a_process_for_handlers
from jobhall.worker.stream import Introduction, WorkerStream

if TYPE_CHECKING:
    from jobhall.worker.health import HealthEndpoint
    from jobhall.worker.process_runners import ProcessRunners

CONCURRENCY_DEFAULT: Final = 8
PREFETCH_DEFAULT: Final = 1000
KILL_AFTER_SECONDS: Final = 10.0
_SIGNAL_SECONDS: Final = 0.5
"""At the latest after this the worker does what a signal asks for."""
_Function = TypeVar("_Function", bound=Callable[[Task], Any])


class Worker:
    """Serves job types: `@worker.handler("type")` on a function that takes a Task, then `worker.run()`.

    A handler returns what JSON can say, bytes or None, which completes the job; whatever it raises fails the attempt,
    `jobhall.TaskFailed` in its own words. Plain handlers run in threads, async ones in a loop of their own; the
    connection has a third thread, so nothing that a handler does or fails to do costs it its lease. Async handlers
    share a loop among themselves: one that blocks holds up its neighbours.

    `processes`: handlers of both kinds run in so many processes, one task at a time in each: for code that holds the
    interpreter, may crash, or must be killed when its time is over. `concurrency` is that number then. Handlers have to
    stand at the top level of a module, and a script has to guard `worker.run()` by `if __name__ == "__main__":`.

    `address` and `token` default to JOBHALL_ADDRESS and JOBHALL_TOKEN; a token that does not last is given as a
    function, which is asked for it before each stream. `namespace` is one, several, or "-" for all; `concurrency` is
    how many tasks run at once; `prefetch` bounds how many more may wait here. How many really do follows from how long
    handlers take: about a tenth of a second's work, so that no task waits here long. `health_listen` is a HOST:PORT
    where probes may ask whether it is healthy.

        worker = Worker(concurrency=4)

        @worker.handler("resize")
        def resize(task: Task) -> dict[str, int]:
            return {"width": task.parameters["width"] // 2}

        worker.run()
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        token: TokenSource = None,
        name: str | None = None,
        namespace: str | Iterable[str] = NAMESPACE_DEFAULT,
        concurrency: int | None = None,
        processes: int | None = None,
        prefetch: int = PREFETCH_DEFAULT,
        labels: Mapping[str, str] | None = None,
        drain_seconds: float = DRAIN_TIMEOUT.total_seconds(),
        kill_after_seconds: float = KILL_AFTER_SECONDS,
        health_listen: str | None = None,
    ) -> None:
        self._concurrency = CONCURRENCY_DEFAULT if concurrency is None else concurrency
        self.processes = processes
        """How many processes run handlers, and None: none but this one; read by `run` and `start`."""
        if concurrency is not None and processes is not None and concurrency != processes:
            raise ValueError(
                f"concurrency is {concurrency}, processes is {processes}; each process runs one task at once"
            )
        if not 1 <= self.concurrency <= CAPACITY_MAX:
            name = "concurrency" if processes is None else "processes"
            raise ValueError(f"{name} is {self.concurrency}; it goes from 1 to {CAPACITY_MAX}")
        if not 0 <= prefetch <= CAPACITY_MAX:
            raise ValueError(f"prefetch is {prefetch}; it goes from 0 to {CAPACITY_MAX}")
        if not kill_after_seconds >= 0:
            raise ValueError(f"kill_after_seconds is {kill_after_seconds}; it is not negative, and inf means never")
        self.address = address
        """Where the server is; read by `run` and `start`."""
        self.token = token
        self.name = name or name_by_default()
        self.namespaces = (namespace,) if isinstance(namespace, str) else tuple(namespace)
        self.prefetch = prefetch
        self.labels = dict(labels or {})
        self.drain_seconds = drain_seconds
        """How long `stop` lets handlers go on; then they are cancelled, and their tasks given back."""
        self.kill_after_seconds = kill_after_seconds
        """How long a handler in a process may take to stop when it is told to; then it is interrupted, then killed."""
        self.health_listen = health_listen
        """Where to answer `GET /healthz`; read by `run` and `start`, which raise JobhallError if they cannot."""
        self._handlers: dict[str, Handler] = {}
        """By the type as it was registered, `public:` and `private:` included."""
        self._io: WorkerIO | None = None
        self._endpoint: HealthEndpoint | None = None

    @property
    def concurrency(self) -> int:
        """How many tasks run at once: as many as there are processes, where there are any."""
        return self._concurrency if self.processes is None else self.processes

    @property
    def job_types(self) -> tuple[str, ...]:
        """The types that have a handler."""
        return tuple(self._handlers)

    @property
    def handlers(self) -> Mapping[str, Handler]:
        """What was registered for each type, `public:` and `private:` included."""
        return MappingProxyType(self._handlers)

    @property
    def connected(self) -> bool:
        """Whether the worker has an open stream that the server has welcomed."""
        return self._io is not None and self._io.connected.is_set()

    @property
    def error(self) -> Exception | None:
        """Why the worker stopped by itself, if it did; `run` raises it."""
        return None if self._io is None else self._io.error

    @property
    def health(self) -> str:
        """`ok` while tasks can come: welcomed, the server heard within three beats, not leaving. Else what is wrong."""
        return self._unready() or "ok"

    @property
    def healthy(self) -> bool:
        """Whether that is ok."""
        return not self._unready()

    @property
    def health_address(self) -> str | None:
        """Where health is answered, the port chosen where `health_listen` asked for port 0."""
        return None if self._endpoint is None else self._endpoint.address

    def handler(self, job_type: str, *, concurrency: int | None = None) -> Callable[[_Function], _Function]:
        """Makes the decorated function the handler of the type, at most `concurrency` of its tasks at once."""
        if concurrency is not None and not 1 <= concurrency <= self.concurrency:
            raise ValueError(f"concurrency of {job_type!r} is {concurrency}; it goes from 1 to {self.concurrency}")
        if self._io is not None:
            raise RuntimeError(f"the handler of {job_type!r} comes too late: the worker runs already")
        served = {bare_name(known): known for known in self._handlers}
        if (known := served.get(bare_name(job_type))) is not None:
            raise ValueError(f"{job_type!r} has a handler already (as {known!r})")

        def register(function: _Function) -> _Function:
            if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
                raise TypeError(f"the handler of {job_type!r} has a yield: nobody would run it; a handler returns")
            self._handlers[job_type] = Handler(bare_name(job_type), function, concurrency, is_async=_is_async(function))
            return function

        return register

    def run(self) -> None:
        """Works until SIGINT, SIGTERM or `stop`; a second signal does not wait for the handlers that still run.

        Tries again and again when the server is away. Raises ApiError when the server says that there is no use.
        Signals are handled only when this is called in the main thread.
        """
        # Before it holds anything: Ctrl-C in between would leave that to its lease.
        before = self._handle_signals() if threading.current_thread() is threading.main_thread() else {}
        try:
            self.start()
            self._wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def start(self) -> None:
        """Begins to work in threads of its own, and returns at once: for programs that do other things as well."""
        if self._io is not None:
            raise RuntimeError("the worker runs already; to run again, make another one")
        if not self._handlers:
            raise ValueError('the worker has no handler: decorate a function with @worker.handler("type")')
        handlers = {handler.job_type: handler for handler in self._handlers.values()}
        handover = Handover()
        credit = Credit(
            concurrency=self.concurrency,
            prefetch_max=min(self.prefetch, CAPACITY_MAX - self.concurrency),
            limits={name: handler.concurrency for name, handler in self._handlers.items() if handler.concurrency},
        )
        access = Access(self.address, self.token)
        processes = self._start_processes(handlers, handover)
        try:
            self._answer_probes()
        except BaseException:
            if processes is not None:
                processes.close()
            raise
        self._io = WorkerIO(
            access,
            WorkerStream(self._introduction(), handlers, handover, credit),
            handover,
            lambda: Crew(handlers, handover, concurrency=self.concurrency, processes=processes),
            title=f"worker {self.name}",
        )
        self._io.start()

    def stop(self, *, drain_seconds: float | None = None) -> None:
        """Takes no more work, lets running handlers end for so long, gives back the rest, and waits for all that.

        From any thread; in a handler it only asks, since it would wait for itself.
        """
        if self._io is None:
            return
        self._io.leave(drain_seconds=self.drain_seconds if drain_seconds is None else drain_seconds)
        if threading.current_thread().name.startswith("jobhall-"):
            return
        self._io.stopped.wait()
        if (endpoint := self._endpoint) is not None:
            self._endpoint = None
            endpoint.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        if self.processes is None:
            self.start()
        else:
            # It waits for their imports.
            await asyncio.to_thread(self.start)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.stop)

    def _start_processes(self, handlers: Mapping[str, Handler], handover: Handover) -> ProcessRunners | None:
        if within_a_process_for_handlers():
            raise RuntimeError(
                "each process for handlers imports the module that runs the worker: put the call that runs it under"
                " `if __name__ == '__main__':`"
            )
        if self.processes is None:
            return None
        # Those who have no processes need not wait for what only they import, nor have a system that knows it.
        from jobhall.worker.process_runners import ProcessRunners

        processes = ProcessRunners(
            handlers, handover, processes=self.processes, kill_after_seconds=self.kill_after_seconds
        )
        processes.start()
        return processes

    def _answer_probes(self) -> None:
        if self.health_listen:
            from jobhall.worker.health import HealthEndpoint

            self._endpoint = HealthEndpoint(self.health_listen, self._unready)

    def _wait(self) -> None:
        assert self._io is not None
        try:
            # The kernel may give a signal to another thread; this one then hears of it only when it moves.
            while not self._io.stopped.wait(_SIGNAL_SECONDS):
                pass
        finally:
            self.stop(drain_seconds=0)
        if self._io.error is not None:
            raise self._io.error

    def _unready(self) -> str:
        return "not started" if self._io is None else self._io.unready()

    def _introduction(self) -> Introduction:
        return Introduction(
            worker_name=self.name,
            namespaces=self.namespaces,
            job_types=self.job_types,
            labels=self.labels,
            runtime=runtime_info(),
        )

    def _handle_signals(self) -> dict[int, Any]:
        """The first SIGINT or SIGTERM drains, another one hurries; what they did before, to be restored."""
        drains = [self.drain_seconds]

        def leave(_number: int, _frame: FrameType | None) -> None:
            if self._io is None:
                raise KeyboardInterrupt
            self._io.leave(drain_seconds=drains.pop() if drains else 0)

        return {number: signal.signal(number, leave) for number in (signal.SIGINT, signal.SIGTERM)}


def _is_async(function: Callable[[Task], Any]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004
