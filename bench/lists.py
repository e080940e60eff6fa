"""Pages of lists among few finished jobs and among many; what is looked for is older than all of those."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import jobhall
from bench.server import JOB_TYPE, Server
from jobhall.states import JobState

FEW = 1_000
WAITING = 1_000
OTHERS = 100
"""Jobs that failed, and jobs of another type."""

RARE_TYPE = "rare"
_CALLS = 50
_ROWS_AT_ONCE = 20_000
_FIRST_KEY = 10**9
"""Far beyond the keys that the server gives."""

Figures = dict[str, float]


def measure_lists(server: Server, finished: int) -> Figures:
    """The shortest time of a page in milliseconds, of each kind of list, among so many finished jobs.

    The shortest, since what else the machine does is in the others, and would be in their ratio. A job that is
    COMPLETED is the pattern of those that are put into the file beside the server.
    """
    with jobhall.Client(server.address) as client:
        client.types.register(RARE_TYPE)
        client.jobs.submit_many(jobhall.Submission(RARE_TYPE) for _ in range(OTHERS))
        client.jobs.submit_many(jobhall.Submission(JOB_TYPE) for _ in range(WAITING))
        _milliseconds(lambda: _page(client))
        _copy(server.database, 0, OTHERS, state=JobState.FAILED, aside=JobState.FAILED)
        _copy(server.database, OTHERS, FEW)
        few = _milliseconds(lambda: _page(client, states=[JobState.PENDING], job_types=[JOB_TYPE]))
        _copy(server.database, OTHERS + FEW, finished - FEW)
        many = _milliseconds(lambda: _page(client, states=[JobState.PENDING], job_types=[JOB_TYPE]))
        return {
            "pending_ms_among_few": few,
            "pending_ms": many,
            "pending_ratio": many / few,
            "failed_ms": _milliseconds(lambda: _page(client, states=[JobState.FAILED])),
            "type_ms": _milliseconds(lambda: _page(client, job_types=[RARE_TYPE])),
            "newest_ms": _milliseconds(lambda: _page(client)),
        }


def _page(client: jobhall.Client, **which: object) -> None:
    page = client.jobs.list_page(page_size=100, **which)  # type: ignore[arg-type]
    assert len(page.jobs) == 100, f"{len(page.jobs)} jobs"


def _milliseconds(call: Callable[[], None]) -> float:
    taken = []
    for _ in range(_CALLS):
        started = time.perf_counter()
        call()
        taken.append(1000 * (time.perf_counter() - started))
    return min(taken)


def _copy(database: Path, first: int, count: int, **columns: int) -> None:
    """Put so many copies of the completed job into the file, a commit for each few thousand."""
    with closing(sqlite3.connect(database, timeout=60, isolation_level=None)) as connection:
        names = [row[1] for row in connection.execute("PRAGMA table_info(jobhall_jobs)")]
        values = {name: name for name in names} | {"key": "value", "job_id": "randomblob(16)"}
        values |= {name: str(int(value)) for name, value in columns.items()}
        pattern = f"SELECT min(key) FROM jobhall_jobs WHERE state = {JobState.COMPLETED:d}"
        copied = (
            "WITH RECURSIVE keys (value) AS (SELECT ? UNION ALL SELECT value + 1 FROM keys LIMIT ?)"
            f" INSERT INTO jobhall_jobs ({', '.join(names)})"
            f" SELECT {', '.join(values.values())} FROM keys, jobhall_jobs WHERE key = ({pattern})"
        )
        for start in range(first, first + count, _ROWS_AT_ONCE):
            size = min(_ROWS_AT_ONCE, first + count - start)
            connection.execute(copied, [_FIRST_KEY + start, size])
