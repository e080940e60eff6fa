"""Which jobs or workers a list names: keywords to the filter text of the contract (a subset of AIP-160)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TypedDict

from jobhall.states import JobState, WorkerState


class JobSelection(TypedDict, total=False):
    """Conditions on jobs; all that are given must hold."""

    namespace: str
    """Where; empty means `default`, `-` everywhere."""
    states: Iterable[JobState]
    job_types: Iterable[str]
    owner: str
    labels: dict[str, str]
    path: str
    created_after: datetime
    """This moment or later."""
    created_before: datetime
    """Earlier than this moment."""
    filter: str
    """More conditions, as filter text."""


class WorkerSelection(TypedDict, total=False):
    """Conditions on workers; all that are given must hold."""

    namespace: str
    """Which serve it; empty means `default`, `-` any."""
    states: Iterable[WorkerState]
    job_types: Iterable[str]
    name: str
    labels: dict[str, str]
    filter: str
    """More conditions, as filter text."""


def filter_text(selection: JobSelection) -> str:
    """The selection's conditions as filter text, its own text last."""
    terms = [
        _any_of("state", [state.name for state in selection.get("states", ())]),
        _any_of("job_type", [_quoted(name) for name in selection.get("job_types", ())]),
        *_label_terms(selection.get("labels", {})),
    ]
    if owner := selection.get("owner"):
        terms.append(f"owner = {_quoted(owner)}")
    if path := selection.get("path"):
        terms.append(f"path = {_quoted(path)}")
    if after := selection.get("created_after"):
        terms.append(f"create_time >= {_moment(after)}")
    if before := selection.get("created_before"):
        terms.append(f"create_time < {_moment(before)}")
    if text := selection.get("filter"):
        # As it is: OR binds more closely than AND, so that nothing in it can reach beyond it.
        terms.append(text)
    return " AND ".join(term for term in terms if term)


def worker_filter_text(selection: WorkerSelection) -> str:
    """The same of workers."""
    terms = [
        _any_of("state", [state.name for state in selection.get("states", ())]),
        _any_of("type", [_quoted(name) for name in selection.get("job_types", ())]),
        *_label_terms(selection.get("labels", {})),
    ]
    if name := selection.get("name"):
        terms.append(f"name = {_quoted(name)}")
    if text := selection.get("filter"):
        terms.append(text)
    return " AND ".join(term for term in terms if term)


def _any_of(name: str, values: list[str]) -> str:
    text = " OR ".join(f"{name} = {value}" for value in values)
    return f"({text})" if len(values) > 1 else text


def _label_terms(labels: dict[str, str]) -> list[str]:
    return [f"labels.{_label_key(key)} = {_quoted(value)}" for key, value in labels.items()]


def _label_key(key: str) -> str:
    return key if key.isidentifier() else _quoted(key)


def _moment(moment: datetime) -> str:
    return _quoted(moment.astimezone(UTC).isoformat().replace("+00:00", "Z"))


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
