"""The job library of seed 002: its program `vis`, a class that is registered, and a server that is quick to judge."""

import sys
from dataclasses import dataclass, field
from typing import Any, Final

from jobhall import Client, Job, JobManager, JobState, TaskStream, WorkerInfo
from tests.support.processes import Processes, Program, Server
from tests.support.waiting import eventually

SOON: Final = 10.0
ACCEPT_SECONDS: Final = 2.0


@dataclass
class Scene:
    """Stands for `vis`: what a program runs its tasks on."""

    jobs: JobManager
    turned: list[float] = field(default_factory=list)


@dataclass
class Extension:
    """What the classes of a program have in common."""

    def run(self, vis: Scene) -> Any:
        raise NotImplementedError


@dataclass
class Rotate(Extension):
    """Turns the scene."""

    angle: float
    axis: str = "z"

    def run(self, vis: Scene) -> Any:
        vis.turned.append(self.angle)
        return f"{self.angle} around {self.axis}"


def library_server(processes: Processes) -> Server:
    """A server whose threshold for dead workers is a second."""
    return processes.serve(
        session_ttl_seconds=1,
        heartbeat_seconds=0.3,
        reaper_seconds=0.1,
        accept_seconds=ACCEPT_SECONDS,
        sweep_job_types_after_seconds=0.5,
    )


def library_program(processes: Processes, server: Server, room: str, what: str) -> Program:
    """A program with the class Slow, as soon as it listens."""
    command = [sys.executable, "-m", "tests.support.library_program", server.address, room, what]
    program = processes.start(f"program-{room}", command)
    program.says("listening")
    return program


def reaches(client: Client, job_id: str, state: JobState) -> Job:
    """The job, as soon as it is in that state."""

    def there() -> Job | None:
        job = client.jobs.get_job(job_id)
        return job if job.state is state else None

    job = eventually(there, within=SOON, what=f"job {job_id} is {state.name}")
    assert job is not None
    return job


def worker_of(client: Client, room: str, tasks: TaskStream) -> WorkerInfo:
    """The worker that the stream is, as soon as the server lists it."""

    def there() -> list[WorkerInfo]:
        return list(client.workers.list(namespace=room)) if tasks.connected else []

    return eventually(there, within=SOON, what="the stream's worker is there")[0]
