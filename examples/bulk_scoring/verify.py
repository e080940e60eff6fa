"""Checks what the service says of a job against the input file and the results file, counted anew."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import jobhall
from make_data import invalid_count


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the service says of one file's job, and nothing else."""

    name: str
    rows: int
    scored: int
    failed: int
    attempts: int
    results: Path

    @classmethod
    def of(cls, job: jobhall.Job) -> Outcome:
        """Read a job's outcome; what the service does not tell is zero or empty, and the checks complain."""
        result = job.result if isinstance(job.result, dict) else {}
        return cls(
            name=job.file_info.name if job.file_info else "",
            rows=job.progress.items_processed,
            scored=job.progress.items_succeeded,
            failed=job.progress.items_failed,
            attempts=job.attempt,
            results=Path(str(result.get("results", ""))),
        )

    def __str__(self) -> str:
        counts = f"{self.rows} rows, {self.scored} scored, {self.failed} failed"
        return f"{self.name}: {counts}, attempts {self.attempts}, results {self.results}"


def find_problems(job: jobhall.Job, source: Path) -> list[str]:
    """Everything that is wrong with a finished job, as sentences; an empty list means that all is as it should be."""
    outcome = Outcome.of(job)
    if not job.succeeded:
        return [f"{source.name} ended {job.state.name}: {job.error}"]
    if not outcome.results.is_file():
        return [f"{source.name} has no results file {outcome.results}"]
    claims = _service_problems(job, outcome, source)
    return [f"{source.name}: {problem}" for problem in [*claims, *_file_problems(job, source, outcome.results)]]


def find_attempt_problems(jobs: list[jobhall.Job]) -> list[str]:
    """One worker was killed, so exactly one of the jobs took a second attempt."""
    attempts = sorted(job.attempt for job in jobs)
    return [] if attempts == [1, 2] else [f"one attempt for one job and two for the other were due, not {attempts}"]


def _service_problems(job: jobhall.Job, outcome: Outcome, source: Path) -> Iterator[str]:
    """Whether the service agrees with itself, with the handler's result and with what is known of the input."""
    symbols = _symbols(source)
    if outcome.name != source.name:
        yield f"the service calls it {outcome.name!r}"
    if outcome.rows != len(symbols) or job.progress.items_total != len(symbols):
        yield f"{outcome.rows} of {job.progress.items_total} rows processed, where the input has {len(symbols)}"
    if outcome.failed != invalid_count(len(symbols)):
        yield f"{outcome.failed} rows failed, where {invalid_count(len(symbols))} were made invalid"
    if outcome.scored + outcome.failed != outcome.rows:
        yield f"{outcome.scored} scored and {outcome.failed} failed are not {outcome.rows} rows"
    if job.item_error_count != outcome.failed:
        yield f"{job.item_error_count} item errors for {outcome.failed} failed rows"
    expected = {
        "rows": outcome.rows,
        "scored": outcome.scored,
        "failed": outcome.failed,
        "results": str(outcome.results),
    }
    if job.result != expected:
        yield f"the handler's result {job.result} differs from the progress {expected}"


def _file_problems(job: jobhall.Job, source: Path, results: Path) -> Iterator[str]:
    """Whether every row of the input is either in the results, under its own symbol, or among the item errors."""
    symbols = _symbols(source)
    with results.open(newline="", encoding="utf-8") as file:
        scores = {int(row["row"]): row for row in csv.DictReader(file)}
    with results.open(newline="", encoding="utf-8") as file:
        lines = sum(1 for _ in csv.reader(file)) - 1
    if not lines == len(scores) == job.progress.items_succeeded:
        yield f"{lines} results for {len(scores)} rows, where {job.progress.items_succeeded} were scored"
    if any(symbols.get(number) != row["symbol"] for number, row in scores.items()):
        yield "a result stands under another row's symbol"
    if not all(0 < float(row["default_probability"]) < 1 for row in scores.values()):
        yield "a default probability is not between 0 and 1"
    unscored = symbols.keys() - scores.keys()
    told = [error.index for error in job.item_errors]
    # The service keeps all of them for ListItemErrors and shows the first hundred with the job.
    if len(set(told)) != len(told) or not unscored.issuperset(told) or len(told) != min(len(unscored), 100):
        yield f"the item errors name the rows {told}, where {sorted(unscored)} have no result"


def _symbols(source: Path) -> dict[int, str]:
    """The first cell of every row by its number; the first row after the header is 1."""
    with source.open(newline="", encoding="utf-8") as file:
        rows = [cells for cells in csv.reader(file) if cells]
    return {number: cells[0] for number, cells in enumerate(rows[1:], start=1)}
