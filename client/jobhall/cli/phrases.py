"""What lines, tables and bars say in the same words."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from jobhall.cli.remarks import remark
from jobhall.limits import RETRY_MAX_DELAY
from jobhall.model import FileInfo, Job, JobError, LogEntry, Progress, RetryPolicy
from jobhall.model_events import JobEvent
from jobhall.model_insight import JobCounts
from jobhall.states import BackoffStrategy, FailureKind, JobState
from jobhall.worker_info import WorkerInfo

_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}


def progress_text(progress: Progress) -> str:
    """`450/1000 rows, 45 %, step: message`, as far as it is known."""
    parts = []
    if progress.items_total is not None:
        parts.append(f"{progress.items_processed}/{progress.items_total} {progress.unit}".rstrip())
    elif progress.items_processed:
        parts.append(f"{progress.items_processed} {progress.unit}".rstrip())
    if progress.items_failed:
        parts.append(f"{progress.items_failed} failed")
    if progress.percent is not None:
        parts.append(f"{progress.percent:.0f} %")
    words = ": ".join(_one_line(word) for word in (progress.step, progress.message) if word)
    return ", ".join([*parts, words] if words else parts)


def error_text(error: JobError) -> str:
    """`APPLICATION ValueError: the message`; a code that is the kind's name is not said again."""
    head = _failure(error.kind, error.code, " ")
    return f"{head}: {_one_line(error.message)}" if error.message else head


def attempt_error_text(error: JobError) -> str:
    """The same with the attempt that failed, where there was one."""
    return f"attempt {error.attempt}: {error_text(error)}" if error.attempt else error_text(error)


def retry_text(policy: RetryPolicy) -> str:
    """`exponential from 1 s to 10 min, times 2, jitter 20 %, never after DECLINED`; nothing where it is the default."""
    first, last = policy.initial_delay, policy.max_delay or max(RETRY_MAX_DELAY, policy.initial_delay)
    if replace(policy, max_delay=last) == RetryPolicy(max_delay=RETRY_MAX_DELAY):
        return ""
    growth = f"{policy.strategy.name.lower()} from {duration_text(first)} to {duration_text(last)}"
    parts = [growth, f"times {policy.multiplier:g}"]
    if policy.strategy is BackoffStrategy.LINEAR:
        parts = [growth]
    elif policy.strategy is BackoffStrategy.FIXED:
        parts = [f"after {duration_text(first)}"]
    parts.append(f"jitter {policy.jitter * 100:.0f} %")
    if policy.non_retryable_codes:
        parts.append(f"never after {' '.join(policy.non_retryable_codes)}")
    return ", ".join(parts)


def outcome_text(job: Job) -> str:
    """What came of an ended job: its result, its error, or who cancelled it and why."""
    if job.error is not None and not job.succeeded:
        return error_text(job.error)
    if job.succeeded:
        return value_text(job.result)
    return _one_line(
        " ".join(part for part in (job.cancel_reason, job.cancelled_by and f"by {job.cancelled_by}") if part)
    )


def value_text(value: Any) -> str:
    """Parameters or a result: bytes by their number, the rest as JSON, nothing as nothing."""
    if value is None:
        return ""
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    return json.dumps(value, ensure_ascii=False)


def event_text(event: JobEvent) -> str:
    """What the event says beyond its name."""
    parts = [f"attempt={event.attempt}"] if event.attempt else []
    if event.worker_name:
        parts.append(f"worker={event.worker_name}")
    if event.failure_kind:
        parts.append(f"failure={_failure(event.failure_kind, event.failure_code, '/')}")
    if event.progress is not None:
        parts.append(progress_text(event.progress))
    parts.extend(_one_line(entry.message) for entry in event.log_entries)
    return " ".join(parts)


def file_text(file: FileInfo) -> str:
    """`annual.csv (5 bytes)`, or the name alone where the size is not known."""
    return file.name if file.size_bytes is None else f"{file.name} ({file.size_bytes} bytes)"


def counts_text(counts: JobCounts) -> str:
    """`2 pending, 1 running, 100 completed`: the states that jobs are in."""
    return ", ".join(f"{count} {state.name.lower()}" for state in JobState if state and (count := counts.of(state)))


def amount(count: int, noun: str, plural: str = "") -> str:
    """`1 job`, `2 jobs`, `3 batches`."""
    return f"{count} {noun if count == 1 else plural or f'{noun}s'}"


def tasks_text(worker: WorkerInfo) -> str:
    """`3/8`: what it holds, and how much it can."""
    return f"{worker.held_count}/{worker.capacity}"


def log_text(entry: LogEntry) -> str:
    """The line and its fields: `rows are in {"rows": 100}`."""
    fields = value_text(dict(entry.fields)) if entry.fields else ""
    return " ".join(part for part in (" ".join(entry.message.splitlines()), fields) if part)


def duration_text(span: timedelta) -> str:
    """`850 ms`, `4.2 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`."""
    total = span.total_seconds()
    if total < 0.9995:
        return f"{total * 1000:.0f} ms"
    if total < 59.95:
        return f"{total:.1f} s".replace(".0 s", " s")
    whole = round(total)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s".removesuffix(" 0 s")
    if whole < 48 * 3600:
        return f"{whole // 3600} h {whole % 3600 // 60} min".removesuffix(" 0 min")
    return f"{whole // 86400} d {whole % 86400 // 3600} h".removesuffix(" 0 h")


def age_text(span: timedelta) -> str:
    """`42 s`, `5 min`, `3 h`, `12 d`: the largest unit alone, for a column that has little room."""
    total = span.total_seconds()
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if total >= size:
            return f"{total // size:.0f} {unit}"
    return f"{max(total, 0) // 1:.0f} s"


def moment(value: datetime) -> str:
    """A time in UTC, to the millisecond."""
    return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def warn_of_reset() -> None:
    """Says loudly that a cursor led nowhere any more."""
    what = "EVENTS MAY BE MISSING: the log does not lead on from the cursor"
    remark(f"{what}; it goes on from the jobs as they are now")


def harmless(text: str) -> str:
    """With its control characters spelled out: what a job says must not command the terminal that shows it."""
    return text.translate(_CONTROLS)


def shown(value: Any) -> str:
    """A value of a record as people read it; nothing where there is none."""
    if value is None:
        return ""
    if isinstance(value, timedelta):
        return duration_text(value)
    if isinstance(value, datetime):
        return moment(value)
    if isinstance(value, float):
        return f"{value:.1f}"
    return str(value)


def _failure(kind: FailureKind, code: str, joint: str) -> str:
    return joint.join(dict.fromkeys(part for part in (kind.name, code) if part))


def _one_line(text: str) -> str:
    return " ".join(text.split())
