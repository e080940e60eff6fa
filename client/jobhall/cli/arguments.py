"""Reads what the command line says into what the SDK takes; raises UsageError where that cannot be."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from enum import IntEnum
from pathlib import Path
from typing import Any, TypeVar

from jobhall.cli.exits import UsageError
from jobhall.cli.times import is_moment
from jobhall.model import FileInfo
from jobhall.states import EventType, JobState, WorkerState

STDIN = "-"
_E = TypeVar("_E", bound=IntEnum)


def read_parameters(*, params: Sequence[str], json_params: str | None, params_file: str | None) -> Any:
    """The job's parameters from the one source that was given; None where there is none."""
    if sum([bool(params), json_params is not None, params_file is not None]) > 1:
        raise UsageError("give the parameters once: --param, --json-params, --params-file or -")
    if params:
        return {name: _value(text) for name, text in _pairs(params, option="--param").items()}
    if json_params is not None:
        return read_json(json_params, option="--json-params")
    return read_document(params_file, option="--params-file")


def read_document(path: str | None, *, option: str) -> Any:
    """The JSON of a file, or of standard input where it is `-`; None where no file was given."""
    return None if path is None else _parsed(read_text(path, option=option), source=source_of(path))


def read_json(text: str | None, *, option: str) -> Any:
    """JSON from the command line itself; None where there is none."""
    return None if text is None else _parsed(text, source=option)


def read_text(path: str, *, option: str) -> str:
    """What is in a file, or comes by standard input where it is `-`."""
    try:
        text = sys.stdin.read() if path == STDIN else Path(path).read_text(encoding="utf-8")
        text.encode()  # What of standard input is not UTF-8 may come as half a character.
    except OSError as error:
        raise UsageError(f"{option}: {path}: {error.strerror}") from error
    except UnicodeError as error:
        raise UsageError(f"{option}: {source_of(path)} is not UTF-8") from error
    return text.removeprefix("\ufeff")


def source_of(path: str) -> str:
    """What it is called in messages."""
    return "standard input" if path == STDIN else path


def read_labels(labels: Sequence[str]) -> dict[str, str]:
    """`key=value` texts as a dict."""
    return _pairs(labels, option="--label")


def read_states(names: Sequence[str]) -> list[JobState]:
    """States by name, in any case, several with commas between them."""
    return _members(JobState, names, option="--state", noun="state")


def read_worker_states(names: Sequence[str]) -> list[WorkerState]:
    """The same of workers."""
    return _members(WorkerState, names, option="--state", noun="state")


def read_event_types(names: Sequence[str]) -> list[EventType]:
    """The same of what happens to jobs."""
    return _members(EventType, names, option="--event", noun="event")


def read_logged_event_types(names: Sequence[str]) -> list[EventType]:
    """The same, of those that the log keeps."""
    types = read_event_types(names)
    for one in types:
        if one in (EventType.PROGRESS, EventType.LOG):
            raise UsageError(f"--event: {one.name} is told by `jobhall watch` and not kept")
    return types


def read_cursor(text: str) -> str:
    """A cursor; a time, which --since is elsewhere, would be said to be of another database."""
    if text and is_moment(text):
        raise UsageError(f"--since: {text!r} is a time; here it is a cursor, as --json says it")
    return text


def read_file_info(path: str | None) -> FileInfo | None:
    """Name and size of the file that a job works on; its content stays where it is."""
    if path is None:
        return None
    try:
        return FileInfo(name=Path(path).name, size_bytes=Path(path).stat().st_size)
    except OSError as error:
        raise UsageError(f"--file: {path}: {error.strerror}") from error


def _members(kind: type[_E], names: Sequence[str], *, option: str, noun: str) -> list[_E]:
    members = {member.name: member for member in kind if member}
    for name in (parts := _split(names)):
        if name.upper() not in members:
            raise UsageError(f"{option}: {name!r} is no {noun}; they are {', '.join(members)}")
    return [members[name.upper()] for name in parts]


def _split(names: Iterable[str]) -> list[str]:
    return [part.strip() for name in names for part in name.split(",")]


def _pairs(texts: Sequence[str], *, option: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise UsageError(f"{option}: {text!r} is not of the form NAME=VALUE")
        if name in pairs:
            raise UsageError(f"{option}: {name!r} is given twice")
        pairs[name] = value
    return pairs


def _value(text: str) -> Any:
    """JSON where it is JSON, else the text itself."""
    try:
        return _parsed(text, source="")
    except UsageError:
        return text


def _parsed(text: str, *, source: str) -> Any:
    try:
        value = json.loads(text, parse_constant=_refuse)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"{source} names half a character, {error.object[error.start]!r}") from error
    except ValueError as error:
        raise UsageError(f"{source} is not JSON: {error}") from error
    except RecursionError as error:
        raise UsageError(f"{source} is nested too deeply") from error
    return value


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not in JSON")
