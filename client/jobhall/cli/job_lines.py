"""Jobs from lines of JSON: each an object with the words of `jobhall submit`; a wrong one is named by its line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from jobhall.cli.arguments import read_json, read_text, source_of
from jobhall.cli.exits import UsageError
from jobhall.cli.schedules import UNIQUE_POLICIES
from jobhall.cli.times import read_due, read_span
from jobhall.submission import Submission

Reader = Callable[[Any, str], Any]


def read_jobs(path: str | None) -> list[tuple[Submission, int]]:
    """The jobs of a file, or of standard input where it is `-`, each with the bytes of its line; none without one."""
    if path is None:
        return []
    source = source_of(path)
    lines = read_text(path, option="--jobs").split("\n")
    return [
        (read_job(line, where=f"{source}:{number}"), len(line.encode()))
        for number, line in enumerate(lines, start=1)
        if line.strip()
    ]


def read_job(line: str, *, where: str) -> Submission:
    """One job; UsageError where it is no such object."""
    said = read_json(line, option=where)
    if not isinstance(said, dict) or not isinstance(said.get("type"), str):
        raise UsageError(f'{where} is no job: it needs a "type"')
    if unknown := said.keys() - _READERS.keys():
        raise UsageError(f"{where}: {min(unknown)!r} is no field of a job; they are {', '.join(_READERS)}")
    read = {name: _READERS[name](value, f"{where}: {name}") for name, value in said.items() if value is not None}
    return Submission(read.pop("type"), **read)


def _of(kind: type | tuple[type, ...], noun: str) -> Reader:
    def read(value: Any, where: str) -> Any:
        # In Python, not in JSON, true is a number.
        if not isinstance(value, kind) or isinstance(value, bool):
            raise UsageError(f"{where} is no {noun}")
        return value

    return read


def _labels(value: Any, where: str) -> dict[str, str]:
    if not isinstance(value, Mapping) or not all(isinstance(text, str) for text in value.values()):
        raise UsageError(f"{where} is no object of texts")
    return dict(value)


def _span(value: Any, where: str) -> Any:
    return read_span(str(value), option=where)


def _due(value: Any, where: str) -> Any:
    return read_due(str(value), option=where, now=datetime.now(UTC))


def _policy(value: Any, where: str) -> Any:
    if str(value) not in UNIQUE_POLICIES:
        raise UsageError(f"{where}: {value!r} is none of {', '.join(UNIQUE_POLICIES)}")
    return UNIQUE_POLICIES[value]


_TEXT = _of(str, "text")
_WHOLE = _of(int, "whole number")

_READERS: dict[str, Reader] = {
    "type": _TEXT,
    "parameters": lambda value, _where: value,
    "labels": _labels,
    "path": _TEXT,
    "priority": _WHOLE,
    "job_id": _TEXT,
    "max_attempts": _WHOLE,
    "run_timeout": _span,
    "progress_timeout": _span,
    "schedule_time": _due,
    "start_deadline": _due,
    "retention": _span,
    "unique_key": _TEXT,
    "unique_policy": _policy,
    "unique_window": _span,
}
