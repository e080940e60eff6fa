"""One jobhall server of a run: started, asked, measured, stopped, and its database examined."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import jobhall
from bench.processes import BenchmarkError, Child, Processes, module_command

JOB_TYPE = "noop"
START_SECONDS_MAX = 20.0
_POLL_SECONDS = 0.005
_SYNCHRONOUS = "sqlite.synchronous="

# Each job once SUBMITTED, CLAIMED, RUNNING, COMPLETED, in this order; before it ran it may have been given back (READY)
# and claimed again, since a worker's credit may fall while a claim is on its way. Nothing else.
_WHOLE_JOBS = """
    SELECT count(*) FROM (
        SELECT job_key, sum(event_type = 3) AS given_back FROM jobhall_events GROUP BY job_key
        HAVING count(*) = 4 + 2 * given_back
           AND sum(event_type = 4) = 1 + given_back
           AND max(CASE event_type WHEN 1 THEN number END) < min(CASE event_type WHEN 4 THEN number END)
           AND max(CASE event_type WHEN 4 THEN number END) < max(CASE event_type WHEN 5 THEN number END)
           AND max(CASE event_type WHEN 5 THEN number END) < max(CASE event_type WHEN 7 THEN number END))
"""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server; `synchronous` is what the server read from its own connection."""

    child: Child
    address: str
    database: Path
    synchronous: str

    def await_completed(self, jobs: int, *, within: float, other_events: int = 0) -> float:
        """Waits until that many jobs have ended, as committed; answers when that was seen, in seconds since 1970.

        `other_events` are those of jobs that did not run.
        """
        deadline = time.monotonic() + within
        with closing(self._connect()) as connection:
            while True:
                self.child.check()
                # One row that is read by its key: the wait costs the server nothing.
                [events] = connection.execute("SELECT last_event FROM jobhall_counters WHERE key = 0").fetchone()
                if events >= 4 * jobs + other_events and not self._unfinished(connection):
                    return time.time()
                if time.monotonic() > deadline:
                    raise BenchmarkError(f"after {within:g} s there were {events} events of {4 * jobs}")
                time.sleep(_POLL_SECONDS)

    def first_claimed_at(self, *, since: float = 0) -> float:
        """When the first job was claimed since then, in seconds since 1970."""
        with closing(self._connect()) as connection:
            [at] = connection.execute(
                "SELECT min(at) FROM jobhall_events WHERE event_type = 4 AND at >= ?", [int(since * 1e6)]
            ).fetchone()
        return float(at) / 1e6

    def stop(self) -> None:
        """Ends it as an operator would; a server that does not leave well is an error."""
        if status := self.child.stop():
            raise BenchmarkError(f"the server ended with status {status}\n{self.child.log_tail()}")

    def check(self, jobs: int, *, result_bytes: int = 0) -> None:
        """Raises unless exactly these jobs are COMPLETED and ran once, with all their events and results.

        Those that were cancelled do not count.
        """
        with closing(self._connect()) as connection:
            [stored, completed] = connection.execute(
                "SELECT count(*), coalesce(sum(state = ?), 0) FROM jobhall_jobs WHERE state <> ?",
                [jobhall.JobState.COMPLETED, jobhall.JobState.CANCELLED],
            ).fetchone()
            [whole] = connection.execute(_WHOLE_JOBS).fetchone()
            [results] = connection.execute(
                "SELECT count(*) FROM jobhall_results WHERE length(text) >= ?", [result_bytes]
            ).fetchone()
        found = (stored, completed, whole, results if result_bytes else jobs)
        if found != (jobs, jobs, jobs, jobs):
            names = ("stored", "COMPLETED", "with all events in order", "with their result")
            told = ", ".join(f"{count} {name}" for count, name in zip(found, names, strict=True))
            raise BenchmarkError(f"of {jobs} jobs the database has {told}")

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=10)

    def _unfinished(self, connection: sqlite3.Connection) -> bool:
        row = connection.execute("SELECT EXISTS (SELECT 1 FROM jobhall_jobs WHERE terminal IS NULL)").fetchone()
        return bool(row[0])


def start_server(processes: Processes, folder: Path, *, profile: Path | None = None) -> Server:
    """Starts a server over a fresh database on a free port of this machine, and registers the one job type."""
    database, address_file = folder / "jobhall.db", folder / "address"
    child = processes.start(
        "server",
        *module_command("jobhall_server", profile and profile / "server.json"),
        "serve",
        "--listen=127.0.0.1:0",
        f"--address-file={address_file}",
        # Nothing else is set: what is measured is what a newcomer gets.
        settings={"JOBHALL_DATABASE_URL": f"sqlite:///{database}"},
    )
    deadline = time.monotonic() + START_SECONDS_MAX
    while not (address := address_file.read_text().strip() if address_file.exists() else ""):
        child.check()
        if time.monotonic() > deadline:
            raise BenchmarkError(f"the server did not start\n{child.log_tail()}")
        time.sleep(_POLL_SECONDS)
    with jobhall.Client(address) as client:
        client.types.register(JOB_TYPE)
        features = client.server_info().features
    told = [feature.removeprefix(_SYNCHRONOUS) for feature in features if feature.startswith(_SYNCHRONOUS)]
    if told not in ([], ["FULL"]):
        raise BenchmarkError(f"the server runs with synchronous={told[0]}: its figures would say nothing about FULL")
    return Server(child, address, database, synchronous=told[0] if told else "not told")
