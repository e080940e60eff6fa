"""The examples in the docstrings of both clients run against the real server, and call the RPC that they stand by."""

from __future__ import annotations

import asyncio
import inspect
from ast import PyCF_ALLOW_TOP_LEVEL_AWAIT
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

import jobhall
from jobhall import AsyncClient, Client, Submission, Task, Worker, reports
from jobhall.errors import ApiError, Code, JobTypeNotFoundError
from tests.support.public_methods import APIS, METHODS, example_of, method_of, public
from tests.support.servers import Running
from tests.support.waiting import eventually_async

RPCS = {place: f"/jobhall.v1.{service}/{rpc}" for service, rpcs in METHODS.items() for rpc, place in rpcs.items()}
NOT_THERE_YET = {"admin.create_api_key", "admin.list_api_keys", "admin.revoke_api_key", "admin.audit_entries"}
"""What this server answers with UNIMPLEMENTED."""
NO_CALL = {"jobs.extract_results"}


@dataclass
class Recorded:
    """A channel that notes which methods are called on it, of gRPC's blocking or async kind."""

    channel: Any
    paths: list[str] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.channel, name)

    def unary_unary(self, path: str, **how: Any) -> Callable[..., Any]:
        return self._noting(path, self.channel.unary_unary(path, **how))

    def unary_stream(self, path: str, **how: Any) -> Callable[..., Any]:
        return self._noting(path, self.channel.unary_stream(path, **how))

    def stream_stream(self, path: str, **how: Any) -> Callable[..., Any]:
        return self._noting(path, self.channel.stream_stream(path, **how))

    def _noting(self, path: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*arguments: Any, **options: Any) -> Any:
            self.paths.append(path)
            return call(*arguments, **options)

        return called


@pytest.fixture
async def reporter(server: Running) -> AsyncIterator[Worker]:
    """A worker for jobs of the type `report`; nobody serves `resize`."""
    worker = Worker(server.address, drain_seconds=0)

    @worker.handler("report")
    def report(task: Task) -> dict[str, int]:
        task.item_error(index=1, message="odd")
        task.log("nearly done", level="warning")
        return {"dataset_id": 7}

    async with worker:
        await eventually_async(lambda: worker.connected, within=10, what="the worker is connected")
        yield worker


@pytest.mark.parametrize("twin", [False, True], ids=["Client", "AsyncClient"])
@pytest.mark.parametrize("api", APIS, ids=lambda api: f"client.{api}" if api else "client")
@pytest.mark.usefixtures("reporter")
async def test_the_examples_of_both_clients_run_and_call_what_they_stand_by(
    server: Running, client: AsyncClient, api: str, *, twin: bool
) -> None:
    await client.types.register("resize")
    places = [f"{api}.{name}".strip(".") for name in public(APIS[api][twin])]
    run = 0
    for place in places:
        code = example_of(method_of(place, twin=twin))
        if not code:
            continue
        paths = await run_example(server, client, place, code, twin=twin)
        if place in RPCS:
            assert RPCS[place] in paths, place
        elif place not in NO_CALL:
            assert paths, place
        run += 1
    assert run >= len([place for place in RPCS if place in places])


async def run_example(server: Running, helper: AsyncClient, place: str, code: str, *, twin: bool) -> list[str]:
    """Runs the code with the names that an example may use; which RPCs it called."""
    names = {name: getattr(jobhall, name) for name in jobhall.__all__}
    names |= {"asyncio": asyncio, "timedelta": timedelta, "reports": reports, "print": lambda *_: None}
    names |= await things(helper, place)
    compiled = compile(code, place, "exec", flags=PyCF_ALLOW_TOP_LEVEL_AWAIT)
    with answered(place):
        if twin:
            channel = Recorded(grpc.aio.insecure_channel(server.address))
            async with AsyncClient(server.address, channel=channel) as theirs:  # type: ignore[arg-type]
                done = eval(compiled, {**names, "client": theirs})
                if inspect.iscoroutine(done):
                    await done
        else:
            channel = Recorded(grpc.insecure_channel(server.address))
            with Client(server.address, channel=channel) as ours:  # type: ignore[arg-type]
                await asyncio.to_thread(eval, compiled, {**names, "client": ours})
    return channel.paths


@contextmanager
def answered(place: str) -> Iterator[None]:
    """Whatever this server answers, but for what it does not do yet."""
    try:
        yield
    except ApiError as error:
        if place not in NOT_THERE_YET or error.code is not Code.UNIMPLEMENTED:
            raise


async def things(client: AsyncClient, place: str) -> dict[str, Any]:
    """A job, another, a batch, a worker and what it has claimed, in the states that the example of the method wants."""
    api, _, name = place.rpartition(".")
    if api == "types":
        with suppress(JobTypeNotFoundError):
            await client.types.delete("resize")
        if name != "register":
            await client.types.register("resize")
        return {}
    if api == "workers":
        await client.jobs.submit("resize")
        claim = await client.workers.claim_tasks(["resize"], timeout=10)
        await client.jobs.submit("resize")
        worker = await client.workers.get(claim.session_id)
        return {"claim": claim, "token": claim.tasks[0].lease_token, "worker": worker}
    if api == "batches":
        ended = name in ("wait", "delete")
        batch = await client.batches.create(jobs=[] if ended else [Submission("resize")], closed=ended)
        return {"batch": batch}
    waits = name in ("update_job", "cancel_job", "delete_job", "explain")
    job, other = [await client.jobs.submit("resize" if waits else "report") for _ in range(2)]
    if not waits:
        job, other = await client.jobs.wait_for_jobs([job.id, other.id], timeout=10)
    if name == "retry_job":
        job = await client.jobs.submit("resize")
        await client.jobs.cancel_job(job.id)
    if name == "import_jobs":
        await client.jobs.delete_job(job.id)
    old = SimpleNamespace(jobs=SimpleNamespace(get_job=lambda *_, **__: job, attempts=lambda _: []))
    found = {"old": old, "job": job, "job_id": job.id, "other": other, "jobs": [job, other], "submitted": [job, other]}
    return found | {"files": ["a.png"], "batch": await client.batches.create(), "key": SimpleNamespace(id=job.id)}
