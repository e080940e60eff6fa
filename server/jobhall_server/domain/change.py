"""What a move does to a job: a small shared value, so that a thousand equal moves are one statement."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

from jobhall.states import AttemptOutcome, EventType, JobState


class Stamp(Enum):
    """A value that the store knows only while it saves."""

    NOW = "now"
    """The group's one time, in microseconds UTC."""

    FENCE = "fence"
    """The row's own fence."""


Constant = int | str | None | Stamp
"""What a constant column of a Change may be set to."""


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """One move of any number of jobs, or several moves merged; compared by identity, so make it once and share it.

    `sets` are the columns set to one constant, `adds` those incremented, `row_columns` those whose value differs from
    job to job (the values travel beside the key, in this order). `events` are logged in order, each with the state
    that it led to. `closes` tells how the attempt ended that was under way, where the job goes on without it: the
    store keeps that attempt as history; UNSPECIFIED: it goes on after all, and is history no more. The store itself
    derives `ready`, `held_by` and `terminal` from `target`, raises `revision` by the number of events, and stamps
    `updated_at` where there is one.
    """

    move: str
    source: JobState
    target: JobState
    sets: tuple[tuple[str, Constant], ...] = ()
    adds: tuple[tuple[str, int], ...] = ()
    row_columns: tuple[str, ...] = ()
    events: tuple[tuple[EventType, JobState], ...] = ()
    closes: AttemptOutcome | None = None


Values = tuple[int | str | None, ...]
"""The values of a Change's `row_columns` for one job."""


@lru_cache(maxsize=4096)
def merge(first: Change, second: Change) -> Change:
    """The two as one row write: what the second sets wins, what both add is summed, every event is kept in order."""
    if first.target is not second.source:
        raise ValueError(f"{second.move} starts at {second.source.name}, but {first.move} ends at {first.target.name}")
    sets = dict(first.sets)
    adds = dict(first.adds)
    for column, value in second.sets:
        sets[column] = value
        adds.pop(column, None)
    for column, step in second.adds:
        constant = sets.get(column)
        if isinstance(constant, int):
            sets[column] = constant + step
        elif column in sets or column in first.row_columns:
            raise ValueError(f"{second.move} adds to {column}, which {first.move} sets to what is not known here")
        else:
            adds[column] = adds.get(column, 0) + step
    kept = tuple(column for column in first.row_columns if column not in sets or column in second.row_columns)
    added = tuple(column for column in second.row_columns if column not in kept)
    for column in second.row_columns:
        sets.pop(column, None)
        adds.pop(column, None)
    return Change(
        move=f"{first.move}+{second.move}",
        source=first.source,
        target=second.target,
        sets=tuple(sets.items()),
        adds=tuple(adds.items()),
        row_columns=kept + added,
        events=first.events + second.events,
        closes=first.closes if second.closes is None else second.closes,
    )


def merge_values(first: Change, second: Change, first_values: Values, second_values: Values) -> Values:
    """The row values of `merge(first, second)`, from those of its two parts."""
    named = dict(zip(first.row_columns, first_values, strict=True))
    named.update(zip(second.row_columns, second_values, strict=True))
    return tuple(named[column] for column in merge(first, second).row_columns)
