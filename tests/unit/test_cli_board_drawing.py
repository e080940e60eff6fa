"""The board of `jobhall top` as it looks, on terminals of every size."""

import io
from dataclasses import replace
from datetime import timedelta

import pytest
from rich.console import Console

from jobhall.cli.board import Board, Figures, View
from jobhall.cli.board_drawing import Heading, draw
from jobhall.model import Job, Progress, TaskInfo
from jobhall.model_insight import JobCounts
from jobhall.states import EventType, FailureKind, JobState, WorkerState
from jobhall.worker_info import WorkerInfo
from tests.support.board_news import NOW, event, job, tell

IDS = [f"01977c0e-5b7a-7d2c-9b5e-0c1d2e3f4a{number:02x}" for number in range(100)]
HEADING = Heading(address="127.0.0.1:50051", scope="--type resize", keys=True)
FIGURES = Figures(
    counts=JobCounts(pending=12_345, running=40, completed=1_234_567, failed=5),
    oldest_pending_age=timedelta(minutes=3),
    completed_per_second=120.0,
    failed_per_second=0.05,
)


def running(number: int, *, percent: float) -> Job:
    task = TaskInfo(attempt=1, fence=1, worker_name=f"resizer-{number}", session_id="s")
    progress = Progress(items_total=2000, items_processed=round(percent * 20), percent=percent, unit="rows")
    made = job(IDS[number], JobState.RUNNING, age=200 - number, attempt=1, progress=progress, current_task=task)
    return replace(made, timing=replace(made.timing, recent_items_per_second=12.5))


def crew(count: int) -> list[WorkerInfo]:
    return [
        WorkerInfo(
            id=str(number),
            name=f"resizer-{number:02d}",
            state=WorkerState.ATTACHED,
            capacity=8,
            held_count=3,
            job_types=("resize", "images:crop"),
        )
        for number in range(count)
    ]


def view(*, workers: int = 2, jobs_max: int = 200) -> View:
    board = Board()
    tell(board, running(1, percent=45.0), running(2, percent=100.0))
    tell(board, *(job(IDS[number], age=100 - number) for number in range(10, 60)))
    failed = {"failure_kind": FailureKind.APPLICATION, "failure_code": "NO_FILE"}
    tell(board, event(IDS[3], EventType.FAILED, revision=3, **failed))
    board.count(FIGURES, crew(workers))
    return board.view(jobs_max=jobs_max, now=NOW)


def drawn(width: int, height: int | None = None, *, of: View | None = None, heading: Heading = HEADING) -> list[str]:
    """What somebody sees: rendered by rich, as wide as that."""
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None, record=True)
    for line in draw(of or view(), heading, width=width, height=height):
        console.print(line, soft_wrap=True)
    return console.export_text().splitlines()


def test_80_columns_and_24_rows_have_it_all() -> None:
    lines = drawn(80, 24)

    assert len(lines) == 24
    assert lines[0].startswith("jobhall 127.0.0.1:50051 --type resize")
    assert lines[1] == "40 running, 12,345 waiting (the oldest 3 min), 1,234,567 completed, 5 failed"
    assert lines[2] == "120.0 completed/s, 3.0 failed/min, 2 workers with 6 of 16 tasks"
    assert lines[3].split() == ["job", "type", "state", "progress", "pace", "left", "worker", "age"]
    assert lines[4].split()[:3] == ["…2e3f4a01", "resize", "RUNNING"]
    assert lines[4].split()[-7:] == ["45%", "12.5/s", "1", "min", "resizer-1", "3", "min"]
    assert lines[6].split()[:3] == ["…2e3f4a0a", "resize", "PENDING"]
    assert lines[-4].split() == ["worker", "state", "tasks", "types"]
    assert lines[-3].split() == ["resizer-00", "ATTACHED", "3/8", "resize", "images:crop"]
    assert lines[-1] == "and 12,369 more   s: sorted by state   q: quit"


def test_120_columns_say_more_of_the_progress_and_140_the_whole_id() -> None:
    assert "900/2,000 rows" in drawn(120, 24)[4]
    assert drawn(140, 24)[4].startswith(IDS[1])


@pytest.mark.parametrize("width", range(40, 140))
def test_half_a_number_is_none(width: int) -> None:
    """`900/2…` was read as 900 of 2."""
    row = drawn(width, 24)[4]

    assert "900" not in row or "900/2,000 " in row


@pytest.mark.parametrize(
    ("width", "height"),
    [(200, 60), (120, 30), (80, 24), (60, 20), (40, 10), (39, 9), (20, 5), (10, 3), (5, 1), (1, 1)],
)
@pytest.mark.parametrize("workers", [0, 1, 100])
def test_whatever_the_size_no_line_is_wider_and_none_too_many(width: int, height: int, workers: int) -> None:
    trouble = replace(HEADING, trouble="for 12 s: no jobhall server answers")

    for heading in (HEADING, trouble):
        lines = drawn(width, height, of=view(workers=workers), heading=heading)

        assert len(lines) <= height
        assert max(map(len, lines)) <= width


def test_40_columns_and_10_rows_have_what_matters_most() -> None:
    lines = drawn(40, 10)

    assert lines[3].split() == ["job", "type", "state", "progress"]
    assert lines[4].split()[:3] == ["…2e3f4a01", "resize", "RUNNING"]
    assert "45%" in lines[4]
    assert not any("worker " in line for line in lines[3:])


def test_rows_of_other_jobs_do_not_move_the_columns() -> None:
    empty = Board().view(jobs_max=20, now=NOW)

    assert drawn(80, 24)[3] == drawn(80, 24, of=empty)[3]


def test_the_server_that_went_away_is_told_in_a_line_of_its_own() -> None:
    lines = drawn(80, 24, heading=replace(HEADING, trouble="for 12 s: no jobhall server answers"))

    assert lines[3] == "for 12 s: no jobhall server answers"
    assert len(lines) == 24


def test_how_a_job_failed_stands_where_its_progress_was() -> None:
    failed = next(line for line in drawn(80) if line.startswith("…2e3f4a03"))

    assert failed.split()[1:4] == ["resize", "FAILED", "NO_FILE"]


def test_more_workers_than_there_is_room_for_are_counted() -> None:
    lines = drawn(80, 24, of=view(workers=100))

    assert "and 97 more" in lines
    assert lines[2].endswith("100 workers with 300 of 800 tasks")


def test_without_a_height_every_job_and_worker_has_its_line() -> None:
    lines = drawn(100, of=view(workers=30), heading=replace(HEADING, keys=False))

    assert sum(line.startswith("…2e3f") for line in lines) == 53
    assert sum(line.startswith("resizer-") for line in lines) == 30
    assert "and 12,333 more" in lines


def test_what_jobs_and_workers_say_of_themselves_commands_no_terminal() -> None:
    odd = replace(view(), workers=(replace(crew(1)[0], name="a\x1b[2Jb\nc"),))

    shown = "\n".join(drawn(80, 24, of=odd))

    assert "\x1b" not in shown
    assert "a\\x1b[2Jb c" in shown


def test_counts_that_are_wider_than_the_choice_are_said_to_be() -> None:
    wider = replace(view(), figures=replace(FIGURES, wider=True))

    assert "whatever the label" in drawn(80, of=wider)[2]


def test_where_jobs_may_be_of_several_namespaces_each_says_its_own() -> None:
    row = drawn(120, heading=replace(HEADING, everywhere=True))[4]

    assert row.split()[1] == "default/resize"


def test_wide_characters_take_their_room() -> None:
    wide = replace(view(), workers=(replace(crew(1)[0], name="工人" * 20),))
    console = Console(file=io.StringIO(), width=80)

    lines = draw(wide, HEADING, width=80, height=24)

    assert max(line.cell_len for line in lines) <= 80
    assert any("工人" in line.plain for line in lines)
    assert console.width == 80
