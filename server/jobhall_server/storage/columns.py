"""What the tables are made of: kinds of columns, and the CHECKs that tie the columns of a job to its state."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import BigInteger, CheckConstraint, Column, Integer, Text, text

from jobhall.states import HELD_STATES, JobState
from jobhall_server.domain.moves import MOVES, TERMINAL

KEY = BigInteger().with_variant(Integer(), "sqlite")
"""A 64-bit key. On SQLite the very word INTEGER makes it the row's own number, which needs no second tree."""

DUE_STATES = (JobState.SCHEDULED, JobState.CANCELLING)
"""States that the server itself moves on, so that a job in them is always due at some time."""

ASIDE = frozenset({JobState.SCHEDULED, JobState.FAILED, JobState.CANCELLED})
"""States in which a job stands aside from the way that most go; one that is PENDING and held back does, too."""


def keyed(*names: str) -> tuple[Column[int], ...]:
    """The columns of a key of several."""
    return tuple(Column(name, KEY, primary_key=True, autoincrement=False) for name in names)


def number(name: str, default: int | None = None, *, nullable: bool = False) -> Column[int]:
    """A column of numbers, times among them."""
    return Column(name, BigInteger, nullable=nullable, server_default=None if default is None else text(str(default)))


def words(name: str, default: str | None = None) -> Column[str]:
    """A column of text that is never NULL."""
    return Column(name, Text, nullable=False, server_default=default)


def job_checks(name: str) -> tuple[CheckConstraint, ...]:
    """What ties the columns to the state, after the table of moves."""
    return (
        CheckConstraint(_state_among(_known_states()), f"{name}_state_known"),
        CheckConstraint(
            _just_when("ready", f"state = {JobState.PENDING:d} AND held_back = 0"), f"{name}_ready_is_pending"
        ),
        CheckConstraint(_just_when("held_by", _state_among(HELD_STATES)), f"{name}_held_by_a_session"),
        CheckConstraint(_just_when("terminal", _state_among(TERMINAL)), f"{name}_terminal_is_ended"),
        CheckConstraint("aside IS NULL OR aside = state", f"{name}_aside_in_its_state"),
        CheckConstraint("lane BETWEEN 0 AND 1", f"{name}_lane_known"),
        # What nobody else moves on, the server does; what has ended, nobody.
        CheckConstraint(f"({_state_not_among(DUE_STATES)}) OR due_at IS NOT NULL", f"{name}_due_by_itself"),
        CheckConstraint("terminal IS NULL OR due_at IS NULL", f"{name}_terminal_is_not_due"),
    )


def _known_states() -> frozenset[JobState]:
    ways = [way for moves in MOVES.values() for way in moves.items()]
    return frozenset(source for source, _ in ways) | frozenset(state for _, targets in ways for state in targets)


def _just_when(column: str, condition: str) -> str:
    """The column is set when that holds, and only then. Not by `=`, of which SQLite works out both sides: it leaves an
    `OR` at the first part that is true.
    """
    return f"({column} IS NULL OR ({condition})) AND ({column} IS NOT NULL OR NOT ({condition}))"


def _state_among(states: Collection[JobState]) -> str:
    """A range: for `IN` in a CHECK, SQLite builds a table for each row that is written."""
    first, last = min(states), max(states)
    assert len(states) == last - first + 1, "the states of one kind follow each other"
    return f"state BETWEEN {first:d} AND {last:d}"


def _state_not_among(states: Collection[JobState]) -> str:
    return " AND ".join(f"state <> {state:d}" for state in states)
