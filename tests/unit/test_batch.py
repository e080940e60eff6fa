"""A batch by itself: the state that its counts make, when its completion job is due, and what changes do to it."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobhall.states import BatchState, CompletionPolicy, JobState
from jobhall_server.domain.batch import (
    COUNTED_STATES,
    BatchRecord,
    BatchRefusal,
    BatchUpdate,
    Completion,
    Counts,
    NewBatch,
    Sweep,
    cancel,
    delete,
    next_sweep,
    update,
)

ALL_TERMINAL = CompletionPolicy.ALL_TERMINAL
NEW = NewBatch("id", 1, "default", completion_job="{}").record(1, 10)
BOTH_ENDED = Counts(completed=1, cancelled=1)

counts = st.builds(Counts, *[st.integers(0, 2)] * len(Counts._fields))


def batch(**fields: Any) -> BatchRecord:
    return replace(NEW, **fields)


def change(record: BatchRecord, **values: Any) -> BatchRecord | BatchRefusal:
    return update(record, BatchUpdate(frozenset(values), **values))


def test_counts_are_by_state_in_the_order_of_the_states() -> None:
    numbered = Counts(*range(8))

    assert [numbered.of(state) for state in COUNTED_STATES] == list(range(8))
    assert tuple(JobState)[1:] == COUNTED_STATES
    assert (numbered.total, numbered.held, numbered.ended) == (28, 2 + 3 + 4, 5 + 6 + 7)


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ({}, BatchState.PENDING),
        ({"counts": Counts(pending=2, cancelled=1)}, BatchState.PENDING),
        ({"counts": Counts(running=1), "started_at": 5}, BatchState.PROCESSING),
        # Back in the queue after an attempt: it was started.
        ({"counts": Counts(pending=1), "started_at": 5, "closed": True}, BatchState.PROCESSING),
        ({"counts": Counts(completed=3), "started_at": 5}, BatchState.PROCESSING),
        ({"counts": Counts(completed=3), "started_at": 5, "closed": True}, BatchState.COMPLETED),
        ({"closed": True}, BatchState.COMPLETED),
        ({"counts": Counts(completed=3, cancelled=1), "closed": True}, BatchState.FAILED),
        ({"counts": Counts(failed=1), "closed": True}, BatchState.FAILED),
    ],
)
def test_the_state_follows_from_the_counts(fields: dict[str, Any], state: BatchState) -> None:
    assert batch(**fields).state is state


@given(counts, st.booleans(), st.sampled_from(list(Sweep)), st.sampled_from(list(Completion)), st.booleans())
def test_a_completion_job_is_due_when_all_jobs_of_a_closed_batch_have_ended_as_its_policy_wants(
    found: Counts, closed: bool, sweep: Sweep, completion: Completion, any_end: bool
) -> None:
    policy = ALL_TERMINAL if any_end else CompletionPolicy.ALL_COMPLETED
    record = batch(counts=found, closed=closed, sweep=sweep, completion=completion, completion_policy=policy)

    ended = closed and found.total == found.ended
    wanted = completion is Completion.WANTED and sweep is not Sweep.DELETE
    assert record.completion_due == (ended and wanted and (any_end or not (found.failed or found.cancelled)))


def test_what_is_new_counts_as_a_change_and_what_is_old_does_not() -> None:
    assert change(NEW, name="n") == batch(name="n", revision=2)
    assert change(NEW, name="", active=True, completion_job="{}") is NEW


def test_what_is_closed_stays_so() -> None:
    assert change(batch(closed=True), closed=False, name="n") is BatchRefusal.REOPENED
    assert change(NEW, closed=False) is NEW


def test_a_completion_job_is_changed_until_it_is_submitted() -> None:
    submitted = batch(completion=Completion.SUBMITTED, completion_job_id="j")

    assert change(NEW, completion_job=None) == batch(completion_job=None, completion=Completion.NONE, revision=2)
    assert change(batch(completion=Completion.NONE), completion_job="[]") == batch(completion_job="[]", revision=2)
    assert change(submitted, completion_job=None) is BatchRefusal.COMPLETION_SUBMITTED
    assert change(submitted, completion_policy=ALL_TERMINAL) is BatchRefusal.COMPLETION_SUBMITTED
    assert change(submitted, completion_job="{}") is submitted


@pytest.mark.parametrize("sweep", [Sweep.NONE, Sweep.HOLD_BACK, Sweep.HAND_OUT])
def test_active_begins_a_sweep_from_the_first_job_on(sweep: Sweep) -> None:
    record = batch(sweep=sweep, sweep_after=77)
    idle = batch(sweep=sweep, sweep_after=77, active=False)

    assert change(record, active=False) == batch(active=False, sweep=Sweep.HOLD_BACK, revision=2)
    assert change(idle, active=True) == batch(active=True, sweep=Sweep.HAND_OUT, revision=2)


def test_while_a_batch_is_cancelled_active_waits_for_the_end_of_that() -> None:
    cancelling = batch(sweep=Sweep.CANCEL, sweep_after=77, closed=True)

    idle = change(cancelling, active=False)

    assert idle == replace(cancelling, active=False, revision=2)
    assert isinstance(idle, BatchRecord)
    assert (next_sweep(idle), next_sweep(cancelling)) == (Sweep.HOLD_BACK, Sweep.HAND_OUT)
    assert {next_sweep(batch(sweep=sweep)) for sweep in (Sweep.HOLD_BACK, Sweep.HAND_OUT)} == {Sweep.NONE}
    assert next_sweep(batch(sweep=Sweep.DELETE)) is Sweep.DELETE


def test_a_cancel_closes_and_gives_up_a_completion_job_that_wants_all_completed() -> None:
    running = batch(counts=Counts(running=1, completed=1), sweep_after=77)

    cancelled = cancel(running, reason="why", by="ann")

    assert cancelled == replace(
        running,
        closed=True,
        sweep=Sweep.CANCEL,
        sweep_after=0,
        sweep_reason="why",
        sweep_by="ann",
        completion=Completion.NONE,
        revision=2,
    )
    assert cancel(replace(running, completion_policy=ALL_TERMINAL), reason="", by="").completion is Completion.WANTED


def test_a_cancel_that_has_nothing_to_do_changes_nothing() -> None:
    over = batch(closed=True, counts=BOTH_ENDED, completion=Completion.NONE)
    under_way = batch(closed=True, counts=Counts(pending=1), sweep=Sweep.CANCEL, completion=Completion.NONE)

    assert cancel(over, reason="again", by="bob") is over
    assert cancel(under_way, reason="again", by="bob") is under_way


def test_a_cancel_takes_the_place_of_a_sweep_over_jobs_that_wait() -> None:
    held_back = batch(closed=True, counts=Counts(pending=1), sweep=Sweep.HOLD_BACK, sweep_after=5)

    assert (cancel(held_back, reason="", by="").sweep, cancel(held_back, reason="", by="").sweep_after) == (
        Sweep.CANCEL,
        0,
    )


@pytest.mark.parametrize("held", [Counts(claimed=1), Counts(running=1), Counts(cancelling=1)])
def test_only_what_no_worker_holds_is_deleted(held: Counts) -> None:
    assert delete(batch(counts=held)) is None

    gone = delete(batch(counts=Counts(scheduled=1, pending=1, failed=1), sweep=Sweep.CANCEL, sweep_after=5))
    assert gone is not None
    assert (gone.sweep, gone.sweep_after, gone.closed) == (Sweep.DELETE, 0, True)
