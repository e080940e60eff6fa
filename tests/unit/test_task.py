"""What a handler can say about its task, and what is refused on the spot."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jobhall import TraceContext
from jobhall.errors import FieldInvalidError, PayloadTooLargeError
from jobhall.states import LogLevel
from jobhall.task import StopCause, Task, TaskCancelled, TaskFailed, TaskReleased
from jobhall.v1.job_pb2 import LogEntry
from jobhall.v1.task_pb2 import TaskUpdate
from jobhall.worker.handover import Handover
from jobhall.worker.held import Handler, HeldTask
from tests.support.stream_machine import assignment


def task_of(**fields: Any) -> Task:
    held = HeldTask(assignment(7, **fields), Handler("resize", repr, None, is_async=False), 0.0)
    return Task(held, Handover())


@pytest.fixture
def task() -> Task:
    return task_of()


def progress_of(task: Task) -> Any:
    return task._held.progress


def lines_of(task: Task) -> list[LogEntry]:
    return list(task._held.lines or ())


def checkpoints_of(task: Task) -> list[TaskUpdate]:
    return list(task._held.checkpoints or ())


def test_a_task_tells_what_it_is() -> None:
    task = task_of(
        namespace="art",
        max_attempts=4,
        labels={"team": "a"},
        path="/images/7",
        file_info={"name": "a.png", "size_bytes": 12},
        parameters={"json": '{"width": 10}'},
    )

    assert (task.job_id, task.job_type, task.namespace) == ("job-7", "resize", "art")
    assert (task.attempt, task.max_attempts, task.fence) == (1, 4, 1)
    assert (task.labels, task.path) == ({"team": "a"}, "/images/7")
    assert task.file_info is not None
    assert (task.file_info.name, task.file_info.size_bytes) == ("a.png", 12)
    assert task.parameters == {"width": 10}
    assert not task.cancelled


def test_a_task_tells_whose_job_it_is_and_where_it_belongs() -> None:
    task = task_of(
        priority=7,
        batch_id="b1",
        owner="ann",
        organization_id="acme",
        create_time={"seconds": 60},
        trace_context={"traceparent": "00-1-2-01", "tracestate": "a=b"},
    )

    assert (task.priority, task.batch_id, task.owner, task.organization_id) == (7, "b1", "ann", "acme")
    assert task.created_at == datetime(1970, 1, 1, 0, 1, tzinfo=UTC)
    assert task.trace_context == TraceContext("00-1-2-01", "a=b")
    assert task_of().trace_context is None
    assert task_of().created_at is None


def test_what_is_absent_has_its_usual_value(task: Task) -> None:
    assert (task.namespace, task.parameters, task.file_info) == ("default", None, None)


def test_bytes_come_as_bytes() -> None:
    assert task_of(parameters={"data": b"\x00\xff"}).parameters == b"\x00\xff"


def test_progress_keeps_what_is_left_out(task: Task) -> None:
    task.progress(total=10, unit="rows", step="reading")
    task.progress(processed=4, message="going well", details={"page": 2})

    said = progress_of(task)
    assert (said.items_total, said.items_processed, said.unit, said.step) == (10, 4, "rows", "reading")
    assert (said.message, said.details["page"]) == ("going well", 2)


def test_what_is_processed_follows_from_what_went_well_and_badly(task: Task) -> None:
    task.progress(total=10, succeeded=3, failed=1)

    assert progress_of(task).items_processed == 4


def test_counting_goes_on_from_the_checkpoint() -> None:
    task = task_of(progress={"items_total": 10, "items_processed": 5})

    task.progress(processed=6)

    assert (progress_of(task).items_total, progress_of(task).items_processed) == (10, 6)


@pytest.mark.parametrize(
    ("contradiction", "match"),
    [
        ({"processed": 5, "succeeded": 4, "failed": 2}, r"succeeded 4 \+ failed 2 is more than processed 5"),
        ({"processed": 11, "total": 10}, "processed 11 is more than total 10"),
        ({"processed": -1}, "not negative"),
        ({"percent": 101}, "percent is 101"),
        ({"percent": float("nan")}, "percent is nan"),
        ({"step_index": 3, "step_count": 2}, "step 3 of 2"),
        ({"details": {"long": "x" * 20_000}}, "details: .* at most 16384"),
    ],
)
def test_a_contradiction_is_refused_at_once_and_changes_nothing(
    task: Task, contradiction: dict[str, Any], match: str
) -> None:
    task.progress(processed=1)

    with pytest.raises(ValueError, match=match):
        task.progress(**contradiction)

    assert progress_of(task).items_processed == 1


def test_texts_that_are_too_long_are_cut(task: Task) -> None:
    task.progress(message="é" * 5000, step="s" * 300)
    task.log("x" * 20_000)

    assert len(progress_of(task).message.encode()) == 4096
    assert len(progress_of(task).step) == 255
    assert len(lines_of(task)[0].message) == 16 * 1024


def test_a_checkpoint_holds_its_state_and_the_progress_that_it_fixes(task: Task) -> None:
    task.progress(total=10)
    task.checkpoint({"page": 3}, processed=4)
    task.progress(processed=5)

    (update,) = checkpoints_of(task)
    assert (update.lease_token, update.checkpoint.state.json) == (task._held.token, '{"page":3}')
    assert (update.checkpoint.progress.items_processed, update.checkpoint.progress.items_total) == (4, 10)


@pytest.mark.parametrize(
    ("state", "error"),
    [
        (None, ValueError),
        ({"odd": object()}, FieldInvalidError),
        ("x" * (1024 * 1024 + 1), PayloadTooLargeError),
    ],
)
def test_a_checkpoint_that_cannot_be_saved_is_refused_at_once_and_changes_nothing(
    task: Task, state: object, error: type[Exception]
) -> None:
    task.checkpoint(b"good")

    with pytest.raises(error):
        task.checkpoint(state, processed=4)

    (update,) = checkpoints_of(task)
    assert update.checkpoint.state.data == b"good"
    assert progress_of(task) is None


def test_an_attempt_finds_what_the_one_before_saved() -> None:
    assert task_of().checkpoint_state is None
    assert task_of(checkpoint={"json": '{"page": 3}'}).checkpoint_state == {"page": 3}
    assert task_of(checkpoint={"data": b"\x00"}).checkpoint_state == b"\x00"


def test_a_task_knows_how_long_it_may_take() -> None:
    task = task_of(run_timeout={"seconds": 60}, progress_timeout={"nanos": 500_000_000})

    assert (task.run_timeout, task.progress_timeout) == (timedelta(seconds=60), timedelta(seconds=0.5))
    assert (task_of().run_timeout, task_of().progress_timeout) == (None, None)


def test_a_delay_is_not_negative() -> None:
    with pytest.raises(ValueError, match="retry_delay"):
        TaskFailed("no", retry_delay=timedelta(seconds=-1))
    with pytest.raises(ValueError, match="delay"):
        TaskReleased(delay=timedelta(seconds=-1))


def test_log_lines_have_a_level_fields_and_a_time(task: Task) -> None:
    task.log("disk is full", level="warning", free_bytes=0, path="/tmp")

    (line,) = lines_of(task)
    assert (line.message, int(line.level)) == ("disk is full", int(LogLevel.WARNING))
    assert (line.fields["free_bytes"], line.fields["path"]) == (0, "/tmp")
    assert line.HasField("time")


def test_a_field_that_json_cannot_say_is_written_as_text_rather_than_fail_the_job(task: Task) -> None:
    task.log("odd", where=object)

    assert lines_of(task)[0].fields["where"] == "<class 'object'>"


def test_a_line_that_is_not_utf8_is_kept_as_it_was(task: Task) -> None:
    task.log(b"caf\xe9")
    task.log("café".encode())

    assert [(line.message, line.raw) for line in lines_of(task)] == [("caf\ufffd", b"caf\xe9"), ("café", b"")]


def test_an_unknown_level_is_named_with_the_known_ones(task: Task) -> None:
    with pytest.raises(ValueError, match="'loud' is none of debug, info, warning, error, critical"):
        task.log("hey", level="loud")


def test_an_item_has_no_negative_place(task: Task) -> None:
    with pytest.raises(ValueError, match="index is -1"):
        task.item_error(index=-1)


def test_lines_that_nobody_takes_are_bounded_and_counted(task: Task) -> None:
    for number in range(10_010):
        task.log(str(number))

    assert len(lines_of(task)) == 10_000
    assert task._held.lines_dropped == 10


@pytest.mark.parametrize(
    "report",
    [
        lambda task: task.progress(processed=1),
        lambda task: task.log("x"),
        lambda task: task.item_error(index=1),
        lambda task: task.checkpoint(1),
    ],
)
def test_every_report_of_a_task_that_is_to_stop_raises(task: Task, report: Callable[[Task], None]) -> None:
    assert (task.cancelled, task.cancel_reason, task.stop_cause) == (False, "", None)
    task._held.ask_to_stop(StopCause.CANCELLED, "enough")

    with pytest.raises(TaskCancelled, match="enough"):
        report(task)

    assert (task.cancelled, task.cancel_reason, task.stop_cause) == (True, "enough", StopCause.CANCELLED)
