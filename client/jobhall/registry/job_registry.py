"""JobManager: classes as job types, in a dict of them; it registers, submits, and listens for tasks."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import suppress
from datetime import timedelta
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack, overload

from jobhall.calls import SubmitOptions
from jobhall.calls_types import Schema
from jobhall.client import Client
from jobhall.errors import JobFailedError, JobTimeoutError
from jobhall.limits import JOB_TYPE_PREFIX_GLOBAL, JOB_TYPE_PREFIX_OWN, NAMESPACE_DEFAULT, NAMESPACE_GLOBAL
from jobhall.model import Job
from jobhall.model_types import JobDefaults
from jobhall.registry.class_schema import parameters_of, schema_of
from jobhall.registry.registration import Registration, check_class, description_of, home_of, split_name
from jobhall.registry.task_stream import TaskStream
from jobhall.spans import seconds
from jobhall.worker.access import Access
from jobhall.worker.held import bare_name
from jobhall.worker.runtime import name_by_default

_C = TypeVar("_C", bound=type[Any])


class JobManager(MutableMapping[str, type[Any]]):
    """The job types of a program as a dict: its keys are their names, its values the classes that do the work.

    To put a class in registers it as a job type, with the JSON Schema of its parameters; to take it out ends that
    this program serves it, and lets the type be. `client` is a Client, or an address for one of its own. `namespace` is
    where types stand and jobs are submitted; public types stand in `@global`, and their jobs come from everywhere.
    `context` is what tasks get that are run without one.

        jobs = JobManager("localhost:50051", namespace="room_123")

        @jobs.register
        @dataclass
        class Rotate:
            angle: float

            def run(self, context: Any) -> str:
                return f"{context} turned by {self.angle}"

        jobs.submit(Rotate(angle=90))
        for task in jobs.listen():
            print(task.run("cat.png").name)
            break
    """

    def __init__(
        self,
        client: Client | str | None = None,
        *,
        namespace: str = NAMESPACE_DEFAULT,
        context: object = None,
        name: str | None = None,
    ) -> None:
        self.client = client if isinstance(client, Client) else Client(client)
        self._owns_client = self.client is not client
        self.namespace = namespace
        self.context = context
        self.name = name or name_by_default()
        """What its streams are called among the workers."""
        self._registered: dict[str, Registration] = {}
        self._streams: weakref.WeakSet[TaskStream] = weakref.WeakSet()

    # --- a dict of classes ---

    def __getitem__(self, name: str) -> type[Any]:
        """The class of that name; `public:` or `private:` before it must be right."""
        return self._registered[self._key(name)].job_class

    def __setitem__(self, name: str, job_class: type[Any]) -> None:
        """Registers the class under that name, as `register` does."""
        self.register(name=name)(job_class)

    def __delitem__(self, name: str) -> None:
        """Ends that it is served here; the type stays at the server, and its jobs wait for others."""
        del self._registered[self._key(name)]
        self._tell_streams()

    def __len__(self) -> int:
        return len(self._registered)

    def __iter__(self) -> Iterator[str]:
        """Goes through the names, without `public:`."""
        return iter(self._registered)

    def __repr__(self) -> str:
        return f"<JobManager of {self.namespace}: {', '.join(it.job_type for it in self._registered.values())}>"

    # --- registering and submitting ---

    @overload
    def register(self, job_class: _C, /) -> _C: ...

    @overload
    def register(
        self,
        job_class: None = None,
        /,
        *,
        public: bool = False,
        category: str = "",
        name: str = "",
        schema: Schema = None,
        result_schema: Schema = None,
        defaults: JobDefaults | None = None,
        replace: bool = False,
    ) -> Callable[[_C], _C]: ...

    def register(
        self,
        job_class: _C | None = None,
        /,
        *,
        public: bool = False,
        category: str = "",
        name: str = "",
        schema: Schema = None,
        result_schema: Schema = None,
        defaults: JobDefaults | None = None,
        replace: bool = False,
    ) -> _C | Callable[[_C], _C]:
        """Registers a class with a method `run(context)`: as a decorator, bare or with options, or by a call.

        It is named after the class, with its `category` before it, or as `name` says, which may also be the whole
        `public:category:name`. The schema of its parameters is made from a dataclass's fields, or given. A type that is
        there already must have the same schemas: else JobTypeSchemaConflictError, whose `violations` say where they
        differ, unless `replace` makes them its next version. A `public` type is for all namespaces; that needs the role
        admin. The docstring becomes the type's description.

            @jobs.register(public=True, category="modifiers")
            @dataclass
            class Scale:
                factor: float = 1.0
                axes: list[str] = field(default_factory=list)

                def run(self, context: Any) -> None:
                    context.scale(self.factor, self.axes)
        """

        def add(job_class: _C) -> _C:
            kind = check_class(job_class)
            chosen, everywhere = split_name(
                name or kind.__name__, category=category, public=public or self.namespace == NAMESPACE_GLOBAL
            )
            registration = Registration(kind, chosen, everywhere)
            self.client.types.register(
                chosen,
                namespace=home_of(everywhere, self.namespace),
                description=description_of(kind),
                parameters_schema=schema_of(kind) if schema is None else schema,
                result_schema=result_schema,
                defaults=defaults,
                replace=replace,
            )
            self._registered[chosen] = registration
            self._tell_streams()
            return job_class

        return add if job_class is None else add(job_class)

    def submit(self, job: object, parameters: Any = None, **options: Unpack[SubmitOptions]) -> Job:
        """Submits a job: by a type's name, served here or elsewhere, or a registered class, and its parameters, or by
        an instance of such a class, whose fields are the parameters. The options are those of `client.jobs.submit`.

            jobs.submit(Scale(factor=2), priority=10)
            jobs.submit("public:modifiers:Scale", {"factor": 2})
        """
        if not isinstance(job, str):
            kind = job if isinstance(job, type) else type(job)
            if not isinstance(job, type):
                if parameters is not None:
                    raise TypeError(f"a {kind.__name__} has its parameters; those given beside it would be lost")
                parameters = parameters_of(job)
            job = self._type_of(kind)
        if parameters is None and job in self:
            parameters = {}
        options.setdefault("namespace", self.namespace)
        return self.client.jobs.submit(job, parameters, **options)

    def get_task(self, job_id: str, *, wait: float | timedelta = 0) -> Job:
        """Reads a job; with `wait`, so many seconds at most for its end: the answer is how it is then.

        A long poll: the server answers at the job's end. It raises nothing of a job that failed; see its `error`.
        """
        if limit := seconds(wait, field="wait"):
            with suppress(JobTimeoutError, JobFailedError):
                return self.client.jobs.wait_for_job(job_id, timeout=limit)
        return self.client.jobs.get_job(job_id)

    # --- consuming ---

    def listen(self, interval: float | timedelta = 2.0) -> TaskStream:
        """The tasks of all that is registered, as they come, for a loop that runs them in its own thread.

        Nothing is polled: `interval` is the longest that a waiting loop does not look up, for the sake of signals.
        What is registered or deleted meanwhile holds for open streams too.

            with jobs.listen() as tasks:
                for task in tasks:
                    task.run()
                    tasks.stop()
        """
        if not self._registered:
            raise ValueError("nothing is registered: decorate a class with @jobs.register")
        endpoint = self.client._driver.endpoint  # noqa: SLF001 - with its token: not for everybody
        address = f"{'grpcs://' if endpoint.secure else ''}{endpoint.address}"
        stream = TaskStream(
            lambda: Access(address, endpoint.token),
            worker_name=self.name,
            namespace=self.namespace,
            registrations=self._registered.values(),
            context=self.context,
            interval=seconds(interval, field="interval"),
        )
        self._streams.add(stream)
        return stream

    def close(self) -> None:
        """Stops its streams, and closes the client if that is its own."""
        for stream in tuple(self._streams):
            stream.close()
        if self._owns_client:
            self.client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _key(self, name: object) -> str:
        key = bare_name(name) if isinstance(name, str) else ""
        if (found := self._registered.get(key)) is not None:
            wrong = JOB_TYPE_PREFIX_OWN if found.public else JOB_TYPE_PREFIX_GLOBAL
            if not str(name).startswith(wrong):
                return key
        raise KeyError(name)

    def _type_of(self, kind: type[Any]) -> str:
        for registration in self._registered.values():
            if registration.job_class is kind:
                return registration.job_type
        raise LookupError(f"{kind.__name__} is not registered here: register it, or submit by the type's name")

    def _tell_streams(self) -> None:
        for stream in tuple(self._streams):
            stream.serve(self._registered.values())
