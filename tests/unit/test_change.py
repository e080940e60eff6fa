"""Two moves merged into one row write leave the row as the two would, one after the other."""

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from jobhall.states import EventType, JobState
from jobhall_server.domain import worker_moves
from jobhall_server.domain.change import Change, Stamp, Values, merge, merge_values
from tests.support.job_records import LEASE, STATES, job_record

S = JobState
COLUMNS = ("attempt", "losses", "reason", "ended_at")
Row = dict[str, Any]


@st.composite
def changes(draw: st.DrawFn, source: JobState) -> tuple[Change, Values]:
    """Any change of a few columns, each named once."""
    kinds = {column: draw(st.sampled_from(("untouched", "set", "add", "row"))) for column in COLUMNS}
    constants = st.one_of(st.integers(-5, 5), st.text(max_size=2), st.none(), st.sampled_from(Stamp))
    rows = tuple(column for column, kind in kinds.items() if kind == "row")
    change = Change(
        "move",
        source,
        draw(st.sampled_from(STATES)),
        sets=tuple((column, draw(constants)) for column, kind in kinds.items() if kind == "set"),
        adds=tuple((column, draw(st.integers(-3, 3))) for column, kind in kinds.items() if kind == "add"),
        row_columns=rows,
        events=tuple(draw(st.lists(st.tuples(st.sampled_from(EventType), st.sampled_from(STATES)), max_size=2))),
    )
    return change, tuple(draw(st.integers(10, 20)) for _ in rows)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[tuple[Change, Values], tuple[Change, Values]]:
    first, first_values = draw(changes(draw(st.sampled_from(STATES))))
    return (first, first_values), draw(changes(first.target))


def written(row: Row, change: Change, values: Values) -> Row:
    row = row | dict(change.sets)
    for column, step in change.adds:
        row[column] += step
    return row | dict(zip(change.row_columns, values, strict=True))


@given(pairs())
def test_a_merge_writes_what_its_parts_write_one_after_the_other(
    both: tuple[tuple[Change, Values], tuple[Change, Values]],
) -> None:
    (first, first_values), (second, second_values) = both
    assume(not unknown_sums(first, second))
    row: Row = dict.fromkeys(COLUMNS, 100)

    merged = merge(first, second)
    values = merge_values(first, second, first_values, second_values)

    assert written(row, merged, values) == written(written(row, first, first_values), second, second_values)


@given(pairs())
def test_a_merge_names_each_column_once_and_keeps_every_event_and_both_ends(
    both: tuple[tuple[Change, Values], tuple[Change, Values]],
) -> None:
    (first, _), (second, _) = both
    assume(not unknown_sums(first, second))

    merged = merge(first, second)

    columns = [*(column for column, _ in (*merged.sets, *merged.adds)), *merged.row_columns]
    assert len(columns) == len(set(columns))
    assert merged.events == first.events + second.events
    assert (merged.source, merged.target) == (first.source, second.target)


@given(pairs())
def test_a_sum_whose_first_part_is_not_known_here_is_never_merged(
    both: tuple[tuple[Change, Values], tuple[Change, Values]],
) -> None:
    (first, _), (second, _) = both
    assume(unknown_sums(first, second))

    with pytest.raises(ValueError, match="not known here"):
        merge(first, second)


@given(st.data())
def test_merging_is_associative(data: st.DataObject) -> None:
    """A row that three moves touch in one group may be merged from either side."""
    parts = [data.draw(changes(data.draw(st.sampled_from(STATES))))]
    for _ in range(2):
        parts.append(data.draw(changes(parts[-1][0].target)))
    (first, _), (second, _), (third, _) = parts
    assume(not unknown_sums(first, second))
    assume(not unknown_sums(second, third))
    assume(not unknown_sums(merge(first, second), third))
    assume(not unknown_sums(first, merge(second, third)))

    left, right = merge(merge(first, second), third), merge(first, merge(second, third))

    assert dict(left.sets) == dict(right.sets)
    assert dict(left.adds) == dict(right.adds)
    assert set(left.row_columns) == set(right.row_columns)
    assert left.events == right.events


def test_moves_that_do_not_follow_each_other_are_never_merged() -> None:
    with pytest.raises(ValueError, match="accept starts at CLAIMED, but accept ends at RUNNING"):
        merge(worker_moves.ACCEPT, worker_moves.ACCEPT)


def test_the_same_two_changes_are_merged_once() -> None:
    """A thousand jobs that were accepted and completed in one group are one statement."""
    complete, _ = worker_moves.complete(job_record(S.RUNNING), LEASE, worker_moves.NO_RESULT_DIGEST)
    assert isinstance(complete, Change)

    assert merge(worker_moves.ACCEPT, complete) is merge(worker_moves.ACCEPT, complete)


def unknown_sums(first: Change, second: Change) -> bool:
    """Whether the second adds to what the first sets to something that is not a number here and now."""
    sets = dict(first.sets)
    return any(
        column in first.row_columns or (column in sets and not isinstance(sets[column], int))
        for column, _ in second.adds
    )
