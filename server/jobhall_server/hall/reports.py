"""What workers report, judged by the moves in one unit: outcomes, acceptances, item errors, logs and kept progress."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import NamedTuple

from jobhall.errors import ApiError, LeaseLostError, ResultConflictError
from jobhall.limits import ITEM_ERRORS_KEPT_MAX
from jobhall.states import JobState
from jobhall_server.domain import worker_moves
from jobhall_server.domain.change import Change, Values
from jobhall_server.domain.job import JobRecord, Lease
from jobhall_server.domain.moves import Decision, Refusal
from jobhall_server.domain.progress import Progress
from jobhall_server.domain.rules import chance_of
from jobhall_server.hall.frames import (
    CheckpointBody,
    CompletedBody,
    FailedBody,
    ItemErrorsBody,
    LogsBody,
    ReleasedBody,
    Report,
    ReportKind,
)
from jobhall_server.hall.store import Group, Unit
from jobhall_server.hall.views import PayloadKind

OUTCOMES = frozenset({ReportKind.COMPLETED, ReportKind.FAILED, ReportKind.RELEASED, ReportKind.CANCELLED})
"""Reports after which the worker holds the task no more."""


@dataclass(slots=True)
class Judged:
    """What became of a list of reports: those refused by their place in it, and the queues that have a job again."""

    refused: dict[int, ApiError] = field(default_factory=dict)
    ready_queues: set[int] = field(default_factory=set)


class JudgeReports(Unit[Judged]):
    """Take what a worker reports, in its order; a refused item costs the others nothing.

    `chance` (0..1), drawn by the caller, is for the delays of what is tried again; `session_key` is whose reports they
    are, None where only their tokens tell.
    """

    def __init__(self, reports: Sequence[Report], *, chance: float, session_key: int | None = None) -> None:
        self._reports = reports
        self._leases = [Lease.parse(report.token) for report in reports]
        self.chance = chance
        self.session_key = session_key
        self.in_order = session_key is not None
        """On a stream no word overtakes another."""
        self.job_keys = tuple({lease.job_key for lease in self._leases if lease is not None})

    def decide(self, group: Group) -> Judged:
        judged = Judged()
        for place, (report, lease) in enumerate(zip(self._reports, self._leases, strict=True)):
            job = group.job(lease.job_key) if lease is not None else None
            if lease is None or job is None:
                judged.refused[place] = LeaseLostError()
                continue
            if isinstance(report.body, CompletedBody):
                refusal = _take_completed(group, job, lease, report.body)
            else:
                refusal = _TAKE[report.kind](_Taking(group, job, lease, report, judged, self))
            if refusal is not None:
                judged.refused[place] = _error(group, job, refusal)
        return judged


class _Taking(NamedTuple):
    """One report about to be taken."""

    group: Group
    job: JobRecord
    lease: Lease
    report: Report
    judged: Judged
    unit: JudgeReports

    def apply(self, decision: Decision, values: Values = ()) -> Refusal | None:
        """Make the change, if it is one."""
        if isinstance(decision, Change):
            self.group.change(self.job, decision, values)
            if decision.target is JobState.PENDING:
                self.judged.ready_queues.add(self.job.queue_key)
            return None
        return decision

    def heard(self) -> Refusal | None:
        """Whatever a task says between start and end accepts it, and shows that it is not silent."""
        return self.apply(*worker_moves.accept(self.job, self.lease, self.group.now))

    def accepted(self) -> JobRecord:
        """The job as it is after `heard`."""
        job = self.group.job(self.job.key)
        assert job is not None
        return job


def _error(group: Group, job: JobRecord, refusal: Refusal) -> ApiError:
    job_id = group.job_id(job.key)
    if refusal is Refusal.RESULT_CONFLICT:
        return ResultConflictError(job_id)
    return LeaseLostError(job_id=job_id, attempt=job.attempt, state=job.state.name)


def _take_completed(group: Group, job: JobRecord, lease: Lease, body: CompletedBody) -> Refusal | None:
    # Every job ends here once, most of them with nothing to say: no more than that is paid for.
    result, digest, progress = body
    decision, values = worker_moves.complete(job, lease, digest)
    if isinstance(decision, Change):
        group.change(job, decision, values)
        if result is not None:
            group.save_payload(job.key, PayloadKind.RESULT, result)
        if progress is not None:
            _save_last_progress(group, job, lease, progress)
        return None
    return decision


def _save_last_progress(group: Group, job: JobRecord, lease: Lease, progress: Progress | None) -> None:
    """An outcome brings the last progress with it, since results overtake progress; a contradictory one is left out."""
    if progress is not None and progress.fault() is None:
        group.save_progress(job.key, lease.fence, progress)


def _take_failed(taking: _Taking) -> Refusal | None:
    group, job, lease, report, _, unit = taking
    assert isinstance(report.body, FailedBody)
    failure = report.body.failure
    decision, values = worker_moves.fail(
        job,
        lease,
        report.body.digest,
        kind=failure.kind,
        code=failure.code,
        now=group.now,
        chance=chance_of(job.key, unit.chance),
        retryable=report.body.retryable,
        delay_us=report.body.delay_us,
    )
    if isinstance(decision, Change):
        if decision.target is not JobState.CANCELLED:
            attempt = job.attempt + (job.state is JobState.CLAIMED)
            group.save_failure(job.key, replace(failure, attempt=attempt))
        _save_last_progress(group, job, lease, report.body.progress)
    return taking.apply(decision, values)


def _take_released(taking: _Taking) -> Refusal | None:
    group, job, lease, report, _, unit = taking
    body = report.body
    assert isinstance(body, ReleasedBody)
    not_mine = body.not_mine and unit.session_key is not None
    chance = chance_of(job.key, unit.chance)
    decision, values = worker_moves.release(
        job, lease, body.digest, now=group.now, chance=chance, delay_us=body.delay_us, not_mine=not_mine
    )
    if isinstance(decision, Change):
        _save_last_progress(group, job, lease, body.progress)
        if not_mine and unit.session_key is not None and decision.target is not JobState.CANCELLED:
            group.exclude(job.key, unit.session_key)
    return taking.apply(decision, values)


def _take_accepted(taking: _Taking) -> Refusal | None:
    return taking.heard()


def _take_progress(taking: _Taking) -> Refusal | None:
    assert isinstance(taking.report.body, Progress)
    progress, lease = taking.report.body, taking.lease
    refusal = taking.heard()
    if refusal is None and (
        taking.unit.in_order or not progress.late(taking.group.progress(lease.job_key, lease.fence))
    ):
        taking.group.save_progress(lease.job_key, lease.fence, progress)
    return refusal


def _take_item_errors(taking: _Taking) -> Refusal | None:
    assert isinstance(taking.report.body, ItemErrorsBody)
    first, errors = taking.report.body
    refusal = taking.heard()
    if refusal is None:
        job = taking.accepted()
        taking.group.change(job, *worker_moves.note_item_errors(job, first + len(errors) - 1))
        kept = errors[: max(0, ITEM_ERRORS_KEPT_MAX - first + 1)]
        if kept:
            taking.group.add_item_errors(job.key, taking.lease.fence, first, kept)
    return refusal


def _take_logs(taking: _Taking) -> Refusal | None:
    assert isinstance(taking.report.body, LogsBody)
    log = taking.report.body
    refusal = taking.heard()
    if refusal is None:
        if log.kept:
            taking.group.add_logs(taking.job.key, taking.lease.fence, log.first_number, log.kept)
        if len(log.kept) < len(log.lines):
            taking.group.drop_logs(taking.job.key, taking.lease.fence, log.through_number)
    return refusal


def _take_checkpoint(taking: _Taking) -> Refusal | None:
    assert isinstance(taking.report.body, CheckpointBody)
    state, progress = taking.report.body
    refusal = taking.heard()
    if refusal is None:
        job = taking.accepted()
        taking.group.change(job, *worker_moves.note_checkpoint(job, state.size_bytes))
        if progress is None:
            progress = taking.group.progress(job.key, taking.lease.fence)
        else:
            taking.group.save_progress(job.key, taking.lease.fence, progress)
        # The next attempt counts its reports anew.
        known = progress and replace(progress, number=None, recent_per_second=None)
        taking.group.save_checkpoint(job.key, state, known)
    return refusal


_TAKE: Mapping[ReportKind, Callable[[_Taking], Refusal | None]] = MappingProxyType(
    {
        ReportKind.ACCEPTED: _take_accepted,
        ReportKind.PROGRESS: _take_progress,
        ReportKind.ITEM_ERRORS: _take_item_errors,
        ReportKind.CHECKPOINT: _take_checkpoint,
        ReportKind.FAILED: _take_failed,
        ReportKind.RELEASED: _take_released,
        ReportKind.CANCELLED: _take_released,
        ReportKind.LOGS: _take_logs,
    }
)
