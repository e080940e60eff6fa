"""Whether a job is the one that a test means, and how jobs are told in a failure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from jobhall.model import Job

ANYTHING: Final[Any] = object()
"""What an argument is that the test leaves out; None would mean nothing."""
_SHOWN_MAX = 20
_TEXT_MAX = 200


def matches(expected: Any, actual: Any) -> bool:
    """Equal; of a mapping it is enough that the names expected are there and match, in nested ones as well."""
    if expected is ANYTHING:
        return True
    if isinstance(expected, Mapping) and isinstance(actual, Mapping):
        return all(name in actual and matches(value, actual[name]) for name, value in expected.items())
    if isinstance(expected, (list, tuple)) and isinstance(actual, (list, tuple)):
        return len(expected) == len(actual) and all(map(matches, expected, actual))
    return bool(expected == actual)


def wanted(job_type: str, parameters: Any, labels: Mapping[str, str] | None, namespace: str | None) -> str:
    """What was looked for."""
    words = [f"of type {job_type!r}"]
    if parameters is not ANYTHING:
        words.append(f"with parameters {_clipped(parameters)}")
    if labels:
        words.append(f"with labels {dict(labels)!r}")
    if namespace is not None:
        words.append(f"in namespace {namespace!r}")
    return " ".join(words)


def told(jobs: Sequence[Job]) -> str:
    """The jobs, one a line."""
    lines = [f"  {line(job)}" for job in jobs[:_SHOWN_MAX]]
    if len(jobs) > _SHOWN_MAX:
        lines.append(f"  … and {len(jobs) - _SHOWN_MAX} more")
    return "\n".join(lines)


def line(job: Job) -> str:
    """One job in a line: what it is, what it was given, how it stands."""
    place = "" if job.namespace == "default" else f"{job.namespace}/"
    parameters = "" if job.parameters is None else f" {_clipped(job.parameters)}"
    labels = f" labels {dict(job.labels)!r}" if job.labels else ""
    return f"{place}{job.job_type}{parameters}{labels} {job.state.name} ({job.id})"


def failure(job: Job) -> str:
    """Why the job, or its last attempt, failed, with the stack of its handler."""
    if job.error is None:
        return ""
    code = f"{job.error.code}: " if job.error.code else ""
    stack = f"\n{job.error.stack.rstrip()}" if job.error.stack else ""
    return f"{code}{job.error.message}{stack}"


def nearest_first(jobs: Iterable[Job], job_type: str) -> list[Job]:
    """Those of the type first, since they are what the test may have meant."""
    return sorted(jobs, key=lambda job: job.job_type != job_type)


def _clipped(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _TEXT_MAX else f"{text[:_TEXT_MAX]}…"
