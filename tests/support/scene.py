"""A server with real workers, whose jobs start and end when the test says so, and whose books are looked into."""

from __future__ import annotations

from typing import Any, Self

import jobhall
from jobhall.states import JobState
from jobhall_server.domain.session import SessionState
from tests.support import journal
from tests.support.evidence import executed_twice, history
from tests.support.history import Event, check
from tests.support.processes import Processes, Program
from tests.support.stored import Stored
from tests.support.waiting import eventually

WITHIN_SECONDS = 20.0
HEARTBEAT_SECONDS = 0.3
SILENCE_SECONDS = 3 * HEARTBEAT_SECONDS
"""After this the server takes a worker that says nothing for detached, and a worker its stream for dead."""


class Scene:
    """A server and a client of it, within a block; workers are those of `journal_worker`."""

    def __init__(self, processes: Processes, **settings: Any) -> None:
        self._processes = processes
        self._settings = {"heartbeat_seconds": HEARTBEAT_SECONDS, **settings}
        self.folder = processes.folder
        self.server = processes.serve(**self._settings)
        self.stored = Stored(self.server.database)
        self.client = jobhall.Client(self.server.address)
        for job_type in ("hold", "note", "nap", "poison"):
            self.client.types.register(job_type)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.client.close()

    def serve_again(self) -> None:
        """The next server, at the same address, after the one before has ended."""
        self.server = self._processes.serve(listen=self.server.address, **self._settings)

    # --- workers ---

    def work(self, name: str, *, address: str = "", concurrency: int = 1, life: int = 1) -> Program:
        """A worker, once it has its stream."""
        before = self.streams(name)
        program = self._processes.work(name, address or self.server.address, concurrency=concurrency, life=life)
        self.back(name, before)
        return program

    def back(self, name: str, before: dict[str, int]) -> None:
        """Waits until a worker of that name has another stream than those `streams` named before."""
        eventually(lambda: self.streams(name).items() - before.items(), within=WITHIN_SECONDS, what=f"{name} is back")

    def streams(self, name: str) -> dict[str, int]:
        """Its sessions that have a stream, and their epochs."""
        rows: list[tuple[Any, ...]] = self.stored.rows(
            "SELECT session_id, epoch FROM jobhall_sessions WHERE worker_name = ? AND state = ?",
            [name, int(SessionState.ATTACHED)],
        )
        return dict(rows)

    # --- jobs ---

    def hold(self, gate: str = "gate", **options: Any) -> str:
        """A job that runs until the gate is opened, once it runs."""
        job_id = self.client.jobs.submit("hold", {"gate": str(self.folder / gate)}, **options).id
        self.started(job_id)
        self.is_in(JobState.RUNNING, job_id)
        return job_id

    def open(self, gate: str = "gate") -> None:
        (self.folder / gate).touch()

    def started(self, job_id: str, *, times: int = 1) -> journal.Entry:
        """The last of so many starts."""
        what = f"start number {times} of {job_id}"
        found = eventually(lambda: journal.starts(self.folder, job_id)[times - 1 :], within=WITHIN_SECONDS, what=what)
        return found[0]

    def ended(self, job_id: str, *, times: int = 1) -> None:
        """So many handlers have come to their end, whatever became of that."""
        what = f"end number {times} of {job_id}"
        eventually(lambda: len(journal.ends(self.folder, job_id)) >= times, within=WITHIN_SECONDS, what=what)

    def is_in(self, state: JobState, *job_ids: str) -> None:
        def is_in() -> bool:
            states = self.stored.states()
            return all(states[job_id] is state for job_id in job_ids)

        eventually(is_in, within=WITHIN_SECONDS, what=f"{len(job_ids)} jobs are {state.name}")

    def counted(self, job_id: str) -> tuple[int, int]:
        """Attempts and losses."""
        job = self.client.jobs.get_job(job_id)
        return job.attempt, job.worker_losses

    def log_of(self, job_id: str) -> list[Event]:
        return [event for event in history(self.stored, self.folder).events if event.job_id == job_id]

    def judge(self) -> None:
        """All promises were kept, as far as the log, the journals and what is stored can tell."""
        self.stored.check()
        check(history(self.stored, self.folder))
        assert executed_twice(self.folder) == []
