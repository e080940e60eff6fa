"""The yardstick of the disk: a bare sqlite3 loop that inserts, claims and completes the same rows, 500 to a commit."""

from __future__ import annotations

import json
import sqlite3
import time
import uuid
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

COMMIT_ROWS = 500
LONE_COMMITS = 500
_SCHEMA = """
    CREATE TABLE jobs (
        key INTEGER PRIMARY KEY, job_id BLOB NOT NULL, job_type TEXT NOT NULL, state INTEGER NOT NULL,
        priority INTEGER NOT NULL, ready INTEGER, worker TEXT, parameters TEXT NOT NULL, result TEXT,
        created_at INTEGER NOT NULL, claimed_at INTEGER, ended_at INTEGER);
    CREATE INDEX jobs_ready ON jobs (job_type, priority, ready, key) WHERE ready IS NOT NULL;
    CREATE UNIQUE INDEX jobs_id ON jobs (job_id);
"""
_CLAIM = """
    UPDATE jobs SET state = 4, ready = NULL, worker = 'bench', claimed_at = ? WHERE key IN (
        SELECT key FROM jobs WHERE job_type = 'noop' AND ready IS NOT NULL ORDER BY priority, ready, key LIMIT ?)
    RETURNING key, job_id, parameters
"""
_COMPLETE = "UPDATE jobs SET state = 6, ended_at = ? WHERE key = ?"


@dataclass(frozen=True, slots=True)
class BareRates:
    """Rows per second of the bare loop; a ceiling without events, leases, accepts or a wire."""

    inserted_per_second: float
    drained_per_second: float
    """Claimed in one commit and completed in the next."""
    lone_commits_per_second: float
    """One row inserted in each: what one submit at a time can come to at most."""
    synchronous: str


def measure_bare_sqlite(folder: Path, rows: int) -> BareRates:
    """Both rates on a fresh file in the folder, WAL and `synchronous=FULL` as read back from the connection."""
    with closing(sqlite3.connect(folder / "bare.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.executescript(_SCHEMA)
        [level] = connection.execute("PRAGMA synchronous").fetchone()
        began = time.perf_counter()
        _insert(connection, rows)
        inserted = time.perf_counter()
        _drain(connection)
        drained = time.perf_counter()
        _insert(connection, LONE_COMMITS, after=rows, commit_rows=1)
        alone = time.perf_counter()
        [completed] = connection.execute("SELECT count(*) FROM jobs WHERE state = 6").fetchone()
    assert completed == rows
    names = {0: "OFF", 1: "NORMAL", 2: "FULL", 3: "EXTRA"}
    return BareRates(
        inserted_per_second=rows / (inserted - began),
        drained_per_second=rows / (drained - inserted),
        lone_commits_per_second=LONE_COMMITS / (alone - drained),
        synchronous=names[level],
    )


def _insert(connection: sqlite3.Connection, rows: int, *, after: int = 0, commit_rows: int = COMMIT_ROWS) -> None:
    parameters = json.dumps({"payload": "x" * 86})
    for first in range(after, after + rows, commit_rows):
        now = time.time_ns() // 1000
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(
            "INSERT INTO jobs (key, job_id, job_type, state, priority, ready, parameters, created_at)"
            " VALUES (?, ?, 'noop', 2, 0, ?, ?, ?)",
            [
                (key, uuid.uuid4().bytes, now, parameters, now)
                for key in range(first + 1, min(first + commit_rows, after + rows) + 1)
            ],
        )
        connection.execute("COMMIT")


def _drain(connection: sqlite3.Connection) -> None:
    while True:
        connection.execute("BEGIN IMMEDIATE")
        claimed = connection.execute(_CLAIM, [time.time_ns() // 1000, COMMIT_ROWS]).fetchall()
        connection.execute("COMMIT")
        if not claimed:
            return
        now = time.time_ns() // 1000
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(_COMPLETE, [(now, key) for key, _, _ in claimed])
        connection.execute("COMMIT")
