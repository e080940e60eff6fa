"""What every part of the reader stands on: the connections, the tables, the database's time."""

from __future__ import annotations

from collections.abc import Callable

from jobhall_server.storage.connections import ReadConnections
from jobhall_server.storage.schema import Tables

ROWS_MAX = 1000
"""Rows of one read: the bound on how long it holds a snapshot, and the checkpoint back."""

KEY_MAX = 2**63 - 1
"""No key is greater."""


class Reading:
    """`now` is the database's time in microseconds UTC."""

    def __init__(self, connections: ReadConnections, tables: Tables, *, now: Callable[[], int]) -> None:
        self._connections = connections
        self._tables = tables
        self._now = now
