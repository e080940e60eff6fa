"""What the tables are made of: kinds of columns, and conditions on a job's state for their CHECKs."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import BigInteger, Column, Integer, Text, text

from jobhall.states import JobState
from jobhall_server.domain.moves import MOVES

KEY = BigInteger().with_variant(Integer(), "sqlite")
"""A 64-bit key. On SQLite the very word INTEGER makes it the row's own number, which needs no second tree."""


def place_in_lease() -> tuple[Column[int], ...]:
    """The key of what a task writes, numbered in its lease."""
    names = ("job_key", "fence", "number")
    return tuple(Column(name, KEY, primary_key=True, autoincrement=False) for name in names)


def number(name: str, default: int | None = None, *, nullable: bool = False) -> Column[int]:
    """A column of numbers, times among them."""
    return Column(name, BigInteger, nullable=nullable, server_default=None if default is None else text(str(default)))


def words(name: str, default: str | None = None) -> Column[str]:
    """A column of text that is never NULL."""
    return Column(name, Text, nullable=False, server_default=default)


def known_states() -> frozenset[JobState]:
    """Every state that the table of moves names."""
    ways = [way for moves in MOVES.values() for way in moves.items()]
    return frozenset(source for source, _ in ways) | frozenset(state for _, targets in ways for state in targets)


def state_among(states: Collection[JobState]) -> str:
    """A range: for `IN` in a CHECK, SQLite builds a table for each row that is written."""
    first, last = min(states), max(states)
    assert len(states) == last - first + 1, "the states of one kind follow each other"
    return f"state BETWEEN {first:d} AND {last:d}"


def state_not_among(states: Collection[JobState]) -> str:
    """The same for states that do not follow each other, the other way round."""
    return " AND ".join(f"state <> {state:d}" for state in states)
