"""What the store alone does in a second: jobs submitted, then drained, with no network around it.

`python -m bench.storage` prints a JSON line for each phase; `--help` says what can be varied. A drained job is one
claim, one start and one completion, with their events; each commit group claims as many as it completes.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from jobhall.ids import new_id
from jobhall_server.domain import worker_moves
from jobhall_server.domain.change import Change
from jobhall_server.domain.job import Lease, NewJob, Payload
from jobhall_server.domain.session import NewSession
from jobhall_server.hall.store import Claimed, Group, Unit, Want
from jobhall_server.hall.views import PayloadKind
from jobhall_server.storage.store import Store
from jobhall_server.storage.writer import Writer

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured."""

    jobs: int
    submitted: int
    drained: int
    parameters_bytes: int
    result_bytes: int
    profile: bool


class Do(Unit[T]):
    """A unit of one function."""

    def __init__(
        self, decide: Callable[[Group], T], job_keys: Sequence[int] = (), session_keys: Sequence[int] = ()
    ) -> None:
        self._decide = decide
        self.job_keys = job_keys
        self.session_keys = session_keys

    def decide(self, group: Group) -> T:
        return self._decide(group)


class DoClaim(Do[list[list[Claimed]]]):
    """The same for a claim."""

    after_save = True


async def measure(plan: Plan) -> None:
    async with opened() as store:
        queue = await store.run(Do(make_queue))
        session = await store.run(Do(lambda group: group.open_session(worker(store.replica_key))))
        payload = Payload(json.dumps({"text": "x" * plan.parameters_bytes})) if plan.parameters_bytes else None
        started = time.perf_counter()
        for _ in range(plan.jobs // plan.submitted):
            news = [NewJob(new_id(), *queue, payload, owner="bench") for _ in range(plan.submitted)]
            await store.run(Do(lambda group, news=news: [group.insert_job(new) for new in news]))  # type: ignore[misc]
        report("submit", plan.jobs, plan.submitted, time.perf_counter() - started)

        started = time.perf_counter()
        claimed: list[Claimed] = []
        done = 0
        while done < plan.jobs:
            want = Want(session.key, 1, plan.drained, 7, "bench", ((queue[1], plan.drained),))
            claiming = store.run(DoClaim(lambda group, want=want: group.claim([want]), (), (session.key,)))  # type: ignore[misc]
            await store.run(complete(claimed, plan.result_bytes))
            done += len(claimed)
            claimed = (await claiming)[0]
        report("drain", plan.jobs, plan.drained, time.perf_counter() - started)
        place = await store.reads.log_place()
        assert place.last == plan.jobs * 4, f"{place.last} events of {plan.jobs} jobs"


def complete(claimed: Sequence[Claimed], result_bytes: int) -> Do[None]:
    leases: list[Lease] = [job.lease for job in claimed]
    result = Payload(json.dumps("x" * result_bytes)) if result_bytes else None

    def decide(group: Group) -> None:
        for lease in leases:
            job = group.job(lease.job_key)
            digest = lease.job_key + 2 if result else worker_moves.NO_RESULT_DIGEST
            decision, values = worker_moves.complete(job, lease, digest)
            assert job is not None
            assert isinstance(decision, Change)
            group.change(job, decision, values)
            if result:
                group.save_payload(job.key, PayloadKind.RESULT, result)

    return Do(decide, [lease.job_key for lease in leases])


def make_queue(group: Group) -> tuple[int, int]:
    namespace_key = group.namespace_key("default")
    return namespace_key, group.queue_key(namespace_key, group.job_type_key(namespace_key, "noop")[0])


def worker(replica_key: int) -> NewSession:
    return NewSession(new_id(), "token", "bench", ("default",), ("noop",), "{}", "{}", 10_000, replica_key, 1)


@asynccontextmanager
async def opened() -> AsyncIterator[Store]:
    with tempfile.TemporaryDirectory() as folder:
        async with Store.open(f"sqlite:///{Path(folder) / 'bench.db'}") as store:
            yield store


def report(phase: str, jobs: int, per_group: int, seconds: float) -> None:
    line: dict[str, Any] = {"bench": "storage", "phase": phase, "jobs": jobs, "per_group": per_group}
    line |= {"jobs_per_second": round(jobs / seconds), "us_per_job": round(seconds / jobs * 1e6, 2)}
    print(json.dumps(line))


def profiled_writer() -> None:
    """Profile the writer's thread; its figures go to standard error when it ends."""
    work = Writer._work  # noqa: SLF001 - a profile is taken inside

    def profiled(self: Writer) -> None:
        profile = cProfile.Profile()
        profile.runcall(work, self)
        import pstats

        pstats.Stats(profile, stream=sys.stderr).sort_stats("tottime").print_stats(25)

    Writer._work = profiled  # type: ignore[method-assign]  # noqa: SLF001


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=20_000)
    parser.add_argument("--submitted", type=int, default=1000, help="jobs submitted by one unit")
    parser.add_argument("--drained", type=int, default=500, help="jobs claimed and completed by one group")
    parser.add_argument("--parameters-bytes", type=int, default=100)
    parser.add_argument("--result-bytes", type=int, default=0)
    parser.add_argument("--profile", action="store_true", help="profile the writer's thread")
    plan = Plan(**vars(parser.parse_args()))
    if plan.profile:
        profiled_writer()
    # As the server does: with the default of 5 ms a busy loop would starve the writer.
    sys.setswitchinterval(50e-6)
    asyncio.run(measure(plan))


if __name__ == "__main__":
    main()
