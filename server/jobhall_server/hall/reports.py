"""What workers report, judged by the moves in one unit: outcomes, acceptances, item errors, logs and kept progress."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from jobhall.errors import ApiError, LeaseLostError, ResultConflictError
from jobhall.limits import ITEM_ERRORS_KEPT_MAX, LOG_LINES_KEPT_MAX
from jobhall.states import JobState
from jobhall_server.domain import moves
from jobhall_server.domain.change import Change, Values
from jobhall_server.domain.job import JobRecord, Lease, Payload
from jobhall_server.domain.moves import Decision, Refusal
from jobhall_server.domain.progress import Progress
from jobhall_server.hall.frames import (
    CompletedBody,
    FailedBody,
    ItemErrorsBody,
    LogsBody,
    ReleasedBody,
    Report,
    ReportKind,
)
from jobhall_server.hall.store import Group, PayloadKind, Unit

OUTCOMES = frozenset({ReportKind.COMPLETED, ReportKind.FAILED, ReportKind.RELEASED, ReportKind.CANCELLED})
"""Reports after which the worker holds the task no more."""


@dataclass(slots=True)
class Judged:
    """What became of a list of reports: those refused by their place in it, and the queues that have a job again."""

    refused: dict[int, ApiError] = field(default_factory=dict)
    ready_queues: set[int] = field(default_factory=set)


class JudgeReports(Unit[Judged]):
    """Take what a worker reports, in its order; a refused item costs the others nothing."""

    def __init__(self, reports: Sequence[Report]) -> None:
        self._reports = reports
        self._leases = [Lease.parse(report.token) for report in reports]
        self.job_keys = tuple({lease.job_key for lease in self._leases if lease is not None})

    def decide(self, group: Group) -> Judged:
        judged = Judged()
        for place, (report, lease) in enumerate(zip(self._reports, self._leases, strict=True)):
            job = group.job(lease.job_key) if lease is not None else None
            if lease is None or job is None:
                judged.refused[place] = LeaseLostError()
                continue
            refusal = _TAKE[report.kind](group, job, lease, report, judged)
            if refusal is not None:
                judged.refused[place] = _error(job, refusal)
        return judged


def _error(job: JobRecord, refusal: Refusal) -> ApiError:
    if refusal is Refusal.RESULT_CONFLICT:
        return ResultConflictError(job.job_id)
    return LeaseLostError(job_id=job.job_id, attempt=job.attempt, state=job.state.name)


def _apply(group: Group, job: JobRecord, decision: Decision, values: Values = ()) -> Refusal | None:
    if isinstance(decision, Change):
        group.change(job, decision, values)
        return None
    return decision


def _take_completed(group: Group, job: JobRecord, lease: Lease, report: Report, _: Judged) -> Refusal | None:
    assert isinstance(report.body, CompletedBody)
    decision, values = moves.complete(job, lease, report.body.digest)
    if isinstance(decision, Change):
        group.change(job, decision, values)
        if report.body.result is not None:
            group.save_payload(job.key, PayloadKind.RESULT, report.body.result)
        _save_last_progress(group, job, lease, report.body.progress)
        return None
    return decision


def _take_failed(group: Group, job: JobRecord, lease: Lease, report: Report, _: Judged) -> Refusal | None:
    assert isinstance(report.body, FailedBody)
    failure = report.body.failure
    decision, values = moves.fail(
        job, lease, report.body.digest, kind=failure.kind, code=failure.code, retryable=failure.retryable
    )
    if isinstance(decision, Change):
        group.change(job, decision, values)
        if decision.target is JobState.FAILED:
            group.save_failure(job.key, failure)
        _save_last_progress(group, job, lease, report.body.progress)
        return None
    return decision


def _save_last_progress(group: Group, job: JobRecord, lease: Lease, progress: Progress | None) -> None:
    """An outcome brings the last progress with it, since results overtake progress; a contradictory one is left out."""
    if progress is not None and progress.fault() is None:
        group.save_progress(job.key, lease.fence, progress)


def _take_released(group: Group, job: JobRecord, lease: Lease, report: Report, judged: Judged) -> Refusal | None:
    assert isinstance(report.body, ReleasedBody)
    decision, values = moves.release(job, lease, report.body.digest)
    if isinstance(decision, Change):
        _save_last_progress(group, job, lease, report.body.progress)
        if decision.target is JobState.PENDING:
            judged.ready_queues.add(job.queue_key)
    return _apply(group, job, decision, values)


def _take_accepted(group: Group, job: JobRecord, lease: Lease, _report: Report, _: Judged) -> Refusal | None:
    return _apply(group, job, moves.accept(job, lease))


def _take_progress(group: Group, job: JobRecord, lease: Lease, report: Report, _: Judged) -> Refusal | None:
    assert isinstance(report.body, Progress)
    refusal = _apply(group, job, moves.accept(job, lease))
    if refusal is None:
        group.save_progress(job.key, lease.fence, report.body)
    return refusal


def _take_item_errors(group: Group, job: JobRecord, lease: Lease, report: Report, _: Judged) -> Refusal | None:
    assert isinstance(report.body, ItemErrorsBody)
    first, errors = report.body
    decision, values = moves.note_item_errors(job, lease, first + len(errors) - 1)
    refusal = _apply(group, job, decision, values)
    kept = errors[: max(0, ITEM_ERRORS_KEPT_MAX - first + 1)]
    if refusal is None and kept:
        group.add_item_errors(job.key, lease.fence, first, kept)
    return refusal


def _take_logs(group: Group, job: JobRecord, lease: Lease, report: Report, _: Judged) -> Refusal | None:
    assert isinstance(report.body, LogsBody)
    first, lines = report.body
    refusal = _apply(group, job, moves.accept(job, lease))
    kept = lines[: max(0, LOG_LINES_KEPT_MAX - first + 1)]
    if refusal is None and kept:
        group.add_logs(job.key, lease.fence, first, kept)
    return refusal


def _take_checkpoint(group: Group, job: JobRecord, lease: Lease, report: Report, _: Judged) -> Refusal | None:
    assert isinstance(report.body, Payload)
    refusal = _apply(group, job, moves.accept(job, lease))
    if refusal is None:
        group.save_payload(job.key, PayloadKind.CHECKPOINT, report.body)
    return refusal


_TAKE: Mapping[ReportKind, Callable[[Group, JobRecord, Lease, Report, Judged], Refusal | None]] = MappingProxyType(
    {
        ReportKind.ACCEPTED: _take_accepted,
        ReportKind.PROGRESS: _take_progress,
        ReportKind.ITEM_ERRORS: _take_item_errors,
        ReportKind.CHECKPOINT: _take_checkpoint,
        ReportKind.COMPLETED: _take_completed,
        ReportKind.FAILED: _take_failed,
        ReportKind.RELEASED: _take_released,
        ReportKind.CANCELLED: _take_released,
        ReportKind.LOGS: _take_logs,
    }
)
