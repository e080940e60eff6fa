"""What the demo shows and what it checks at its end: every way in which service, input and results can disagree."""

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from display import Bars, Lines
from jobhall.model import FileInfo, ItemError, Job, Progress, TaskInfo, Timing
from jobhall.states import JobState
from make_data import write_files
from scoring import RowError, parse_company
from verify import Outcome, find_attempt_problems, find_problems


@dataclass(frozen=True, slots=True)
class Finished:
    """A job that went as it should, with its two files."""

    job: Job
    source: Path
    results: Path


@pytest.fixture
def finished(tmp_path: Path) -> Finished:
    source = write_files(tmp_path, rows=100, seed=7)[0]
    results = tmp_path / "scored.csv"
    with source.open(newline="") as file:
        rows = dict(enumerate(list(csv.reader(file))[1:], start=1))
    errors = []
    with results.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("row", "symbol", "default_probability"))
        for number, row in rows.items():
            try:
                writer.writerow((number, parse_company(row).symbol, 0.01))
            except RowError as error:
                errors.append(ItemError(number, row[0], error.code, error.message))
    job = Job(
        id="1",
        namespace="default",
        job_type="score_companies",
        state=JobState.COMPLETED,
        progress=Progress(items_total=100, items_processed=100, items_succeeded=98, items_failed=2),
        result={"rows": 100, "scored": 98, "failed": 2, "results": str(results)},
        file_info=FileInfo(name="annual.csv"),
        attempt=1,
        item_errors=tuple(errors),
        item_error_count=2,
    )
    return Finished(job, source, results)


def test_a_job_that_went_well_has_no_problems_and_one_line(finished: Finished) -> None:
    assert find_problems(finished.job, finished.source) == []
    line = f"annual.csv: 100 rows, 98 scored, 2 failed, attempts 1, results {finished.results}"
    assert str(Outcome.of(finished.job)) == line


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"state": JobState.FAILED}, "ended FAILED"),
        ({"state": JobState.RUNNING}, "ended RUNNING"),
        ({"result": None}, "no results file"),
        ({"file_info": FileInfo(name="other.csv")}, "'other.csv'"),
        ({"item_errors": ()}, "item errors name"),
        ({"item_error_count": 3}, "3 item errors"),
        (
            {"progress": Progress(items_total=100, items_processed=99, items_succeeded=97, items_failed=2)},
            "99 of 100 rows",
        ),
        (
            {"progress": Progress(items_total=100, items_processed=100, items_succeeded=99, items_failed=1)},
            "1 rows failed",
        ),
        (
            {"progress": Progress(items_total=100, items_processed=100, items_succeeded=97, items_failed=2)},
            "are not 100 rows",
        ),
    ],
)
def test_a_wrong_word_of_the_service_is_found(finished: Finished, change: dict[str, Any], words: str) -> None:
    problems = find_problems(replace(finished.job, **change), finished.source)

    assert any(words in problem for problem in problems), problems


def test_a_result_that_contradicts_the_progress_is_found(finished: Finished) -> None:
    job = replace(finished.job, result=finished.job.result | {"scored": 99})

    assert any("differs from the progress" in problem for problem in find_problems(job, finished.source))


def test_an_item_error_told_twice_is_found(finished: Finished) -> None:
    job = replace(finished.job, item_errors=(finished.job.item_errors[0],) * 2)

    assert any("item errors name" in problem for problem in find_problems(job, finished.source))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda lines: lines[:-1], "97 results"),
        (lambda lines: [*lines, lines[-1]], "99 results for 98 rows"),
        (lambda lines: [lines[0], lines[1].replace(",", ",X", 1), *lines[2:]], "another row's symbol"),
        (lambda lines: [line.replace("0.01", "1.5") for line in lines], "not between 0 and 1"),
    ],
)
def test_a_spoilt_results_file_is_found(
    finished: Finished, spoil: Callable[[list[str]], list[str]], words: str
) -> None:
    lines = finished.results.read_text().splitlines()
    finished.results.write_text("\n".join(spoil(lines)) + "\n")

    problems = find_problems(finished.job, finished.source)

    assert any(words in problem for problem in problems), problems


@pytest.mark.parametrize(("attempts", "well"), [((1, 2), True), ((2, 1), True), ((1, 1), False), ((2, 3), False)])
def test_exactly_one_of_the_two_jobs_must_have_taken_a_second_attempt(
    finished: Finished, attempts: tuple[int, int], well: bool
) -> None:
    jobs = [replace(finished.job, attempt=attempt) for attempt in attempts]

    assert (find_attempt_problems(jobs) == []) is well


@pytest.fixture
def running(finished: Finished) -> Job:
    return replace(
        finished.job,
        state=JobState.RUNNING,
        progress=Progress(items_total=100, items_processed=41, items_succeeded=40, items_failed=1),
        timing=Timing(
            items_per_second=100.0, recent_items_per_second=118.0, estimated_remaining=timedelta(seconds=0.5)
        ),
        current_task=TaskInfo(attempt=1, fence=1, worker_name="worker-1", session_id="s"),
    )


def test_without_a_terminal_a_line_is_printed_for_each_tenth_of_the_way(running: Job) -> None:
    console = Console(file=io.StringIO(), width=20)

    with Lines(console) as lines:
        for processed in range(41, 61):
            lines.show("annual.csv", replace(running, progress=replace(running.progress, items_processed=processed)))

    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().splitlines() == [
        "annual.csv   41 %  41/100 rows  118 rows/s, 0 s left  RUNNING, attempt 1 on worker-1",
        "annual.csv   50 %  50/100 rows  118 rows/s, 0 s left  RUNNING, attempt 1 on worker-1",
        "annual.csv   60 %  60/100 rows  118 rows/s, 0 s left  RUNNING, attempt 1 on worker-1",
    ]


def test_on_a_terminal_every_job_has_a_bar(running: Job) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120, color_system=None)

    with Bars(console) as bars:
        bars.show("annual.csv", running)
        bars.show("quarterly.csv", replace(running, state=JobState.PENDING, progress=Progress(), current_task=None))
        bars.note("worker-1 killed")

    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    for words in ("━", "41/100 rows", "118 rows/s, 0 s left", "RUNNING, attempt 1 on worker-1", "worker-1 killed"):
        assert words in shown
