"""Why a job is not running, and what would help: typed reasons from what is known of it and of the workers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from jobhall.limits import NAMESPACE_DEFAULT
from jobhall.states import JobState, WaitReasonKind
from jobhall_server.domain.job import JobView
from jobhall_server.hall.registry import nearest, split_job_type
from jobhall_server.hall.roster import WorkerState

AHEAD_MAX = 10_000
"""How far the jobs are counted that come first."""
_NAMED_MAX = 5
"""Workers that a sentence names."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A worker that is there, as far as one job is concerned."""

    name: str
    job_types: Sequence[str]
    """As it gave them, `public:` and `private:` in front."""
    namespaces: Sequence[str]
    serves: bool
    """Its types and namespaces are those of the job."""
    state: WorkerState = WorkerState.ATTACHED
    tasks_max: int = 1
    free: int = 1
    """How many more tasks of this type it takes now."""
    barred: bool = False
    """It gave the job back as not its own, or lets tasks of its type lie."""
    holds_lost: bool = False
    """It holds a job that lost a worker before."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What else is known where a job waits. `batch_inactive` also while its jobs are still being held back."""

    candidates: Sequence[Candidate] = ()
    type_paused: bool = False
    batch_inactive: bool = False
    jobs_ahead: int = 0


@dataclass(frozen=True, slots=True)
class WaitReason:
    """One reason; texts are for people, `until_at` (microseconds UTC) is when it passes by itself."""

    kind: WaitReasonKind
    message: str
    suggestion: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    until_at: int | None = None


@dataclass(frozen=True, slots=True)
class JobExplanation:
    """All reasons, the weightiest first; none where nothing keeps the job."""

    job_id: str
    state: JobState
    summary: str
    reasons: tuple[WaitReason, ...] = ()
    jobs_ahead: int = 0


def explain(job: JobView, around: Surroundings) -> JobExplanation:
    """What somebody must change comes first; then what passes by itself, in the order in which it has to."""
    if job.state not in (JobState.SCHEDULED, JobState.PENDING):
        reason = _not_waiting(job)
        return JobExplanation(job.job_id, job.state, reason.message, (reason,))
    found = [
        _paused(job) if around.type_paused else None,
        _held_back(job) if around.batch_inactive else None,
        _not_due(job) if job.state is JobState.SCHEDULED else None,
        *_of_workers(job, around.candidates),
        _behind(job, around.jobs_ahead) if around.jobs_ahead else None,
    ]
    reasons = tuple(reason for reason in found if reason is not None)
    summary = reasons[0].message if reasons else "Nothing keeps it: a worker is about to be given it."
    return JobExplanation(job.job_id, job.state, summary, reasons, around.jobs_ahead)


def _paused(job: JobView) -> WaitReason:
    registered_in = "" if job.job_type_namespace == NAMESPACE_DEFAULT else f" --namespace {job.job_type_namespace}"
    return WaitReason(
        WaitReasonKind.TYPE_PAUSED,
        f"The type {job.job_type} is paused: none of its jobs is given to a worker.",
        f"Resume the type: jobhall type resume {job.job_type}{registered_in}",
        {"job_type": job.job_type, "namespace": job.job_type_namespace},
    )


def _held_back(job: JobView) -> WaitReason:
    return WaitReason(
        WaitReasonKind.BATCH_INACTIVE,
        "Its batch is not active: its jobs are held back.",
        f"Make the batch active: jobhall batch update {job.batch_id} --active",
        {"batch_id": job.batch_id},
    )


def _not_due(job: JobView) -> WaitReason:
    due_at = job.due_at
    when = "" if due_at is None else time_text(due_at)
    earlier = f"To run it earlier: jobhall update {job.job_id} --at now"
    metadata = {"due_time": when, "attempt": str(job.attempt)}
    if job.schedule_at is not None and (due_at is None or job.schedule_at >= due_at):
        message = f"It is scheduled for {time_text(job.schedule_at)}."
        return WaitReason(WaitReasonKind.NOT_DUE, message, earlier, metadata, due_at)
    if not job.failure_kind:
        message = f"A worker gave it back, to be tried again at {when}."
        return WaitReason(WaitReasonKind.NOT_DUE, message, earlier, metadata, due_at)
    code = job.failure_code or job.failure_kind.name
    message = f"Attempt {job.attempt} of {job.max_attempts} failed ({code}): it is tried again at {when}."
    metadata |= {"failure_kind": job.failure_kind.name, "failure_code": job.failure_code}
    return WaitReason(WaitReasonKind.BACKING_OFF, message, earlier, metadata, due_at)


def _of_workers(job: JobView, candidates: Sequence[Candidate]) -> list[WaitReason | None]:
    serving = [one for one in candidates if one.serves]
    here = [one for one in serving if one.state is WorkerState.ATTACHED]
    if not here:
        return [_all_leaving(job, serving) if serving else _nobody(job, candidates)]
    if job.state is JobState.SCHEDULED:
        return []
    allowed = [one for one in here if not one.barred]
    with_room = [one for one in allowed if one.free]
    if with_room:
        suspect = job.worker_losses > 0 and all(one.holds_lost for one in with_room)
        return [_suspect(job, with_room) if suspect else None]
    excluded = not allowed or any(one.barred and one.free for one in here)
    return [_excluded(job, here) if excluded else None, _no_room(job, allowed) if allowed else None]


def _nobody(job: JobView, candidates: Sequence[Candidate]) -> WaitReason:
    """Nobody serves the type there; perhaps under a like name, or elsewhere."""
    metadata = {"job_type": job.job_type, "namespace": job.namespace, "workers": str(len(candidates))}
    message = f"No worker serves {job.job_type} in the namespace {job.namespace}."
    suggestion = f"Start a worker that serves {job.job_type}."
    elsewhere = sorted(
        {place for one in candidates if job.job_type in _plain_names(one.job_types) for place in one.namespaces}
    )
    if elsewhere:
        places = ", ".join(elsewhere[:_NAMED_MAX])
        metadata["other_namespaces"] = places
        if set(elsewhere) <= {job.namespace, "-"}:
            suggestion = "Workers serve a type of that name in another scope: compare public: and private: in front."
        else:
            suggestion = f"Workers serve it in {places}: start one for {job.namespace}, or submit it there."
    else:
        names = sorted({name for one in candidates for name in _plain_names(one.job_types)})
        if meant := nearest(job.job_type, names):
            metadata["nearest"] = meant
            suggestion += f" Is {meant} meant, which workers serve?"
    return WaitReason(WaitReasonKind.NO_WORKER, message, suggestion, metadata)


def _all_leaving(job: JobView, serving: Sequence[Candidate]) -> WaitReason:
    """Those who serve the type are given nothing."""
    draining = [one for one in serving if one.state is WorkerState.DRAINING]
    away = len(serving) - len(draining)
    parts = [f"{len(draining)} draining"] if draining else []
    parts += [f"{away} without connection"] if away else []
    return WaitReason(
        WaitReasonKind.NO_WORKER,
        f"No worker that serves {job.job_type} in {job.namespace} takes tasks now: {' and '.join(parts)} "
        f"({_names(serving)}).",
        f"Start another worker that serves {job.job_type}.",
        {"job_type": job.job_type, "namespace": job.namespace, "draining": str(len(draining)), "detached": str(away)},
    )


def _excluded(job: JobView, here: Sequence[Candidate]) -> WaitReason:
    barred = [one for one in here if one.barred]
    return WaitReason(
        WaitReasonKind.SESSIONS_EXCLUDED,
        f"The workers with room do not take it: {_names(barred)} gave it back as not theirs, or did not begin what "
        "they were given.",
        f"Start another worker that serves {job.job_type}, or restart these.",
        {"job_type": job.job_type, "workers": str(len(here)), "excluded": str(len(barred))},
    )


def _suspect(job: JobView, with_room: Sequence[Candidate]) -> WaitReason:
    losses = f"{job.worker_losses} time{'s' if job.worker_losses > 1 else ''}"
    return WaitReason(
        WaitReasonKind.POISON_SUSPECT,
        f"It has lost its worker {losses}: it waits for a worker that holds no other such job.",
        "Start another worker, or wait until the other jobs of this kind have ended.",
        {"worker_losses": str(job.worker_losses), "workers": str(len(with_room))},
    )


def _no_room(job: JobView, allowed: Sequence[Candidate]) -> WaitReason:
    tasks_max = sum(one.tasks_max for one in allowed)
    workers = f"{len(allowed)} worker{'s' if len(allowed) > 1 else ''}"
    tasks = f"{tasks_max} task{'s' if tasks_max != 1 else ''}"
    return WaitReason(
        WaitReasonKind.NO_CAPACITY,
        f"{workers} for {job.job_type}, none with room now; together they hold up to {tasks}.",
        "Wait for the running jobs, or start more workers.",
        {"job_type": job.job_type, "workers": str(len(allowed)), "tasks_max": str(tasks_max)},
    )


def _behind(job: JobView, ahead: int) -> WaitReason:
    count = f"{ahead} or more" if ahead >= AHEAD_MAX else str(ahead)
    return WaitReason(
        WaitReasonKind.BEHIND_OTHERS,
        f"{count} {'job comes' if ahead == 1 else 'jobs come'} before it in its queue.",
        "A higher priority would bring it forward; more workers help all.",
        {"jobs_ahead": str(ahead), "priority": str(job.priority)},
    )


def _not_waiting(job: JobView) -> WaitReason:
    metadata = {"state": job.state.name, "attempt": str(job.attempt)}
    until_at = None
    if job.current_task is not None:
        task = job.current_task
        metadata |= {"worker": task.worker, "session_id": task.session_id}
        since = task.started_at or task.claimed_at
        match job.state:
            case JobState.CLAIMED:
                message = f"It was given to the worker {task.worker} at {time_text(since)}, which has not begun it yet."
            case JobState.RUNNING:
                message = f"The worker {task.worker} runs it since {time_text(since)}, attempt {task.attempt}."
            case _:
                until_at = job.due_at
                message = f"It is being cancelled: the worker {task.worker} was asked to stop."
    else:
        since = job.ended_at or job.updated_at
        message = f"It is {job.state.name} since {time_text(since)}{_how(job)}."
    metadata["since"] = time_text(since)
    retry = f"To run it again: jobhall retry {job.job_id}" if job.state in (JobState.FAILED, JobState.CANCELLED) else ""
    return WaitReason(WaitReasonKind.NOT_WAITING, message, retry, metadata, until_at)


def _how(job: JobView) -> str:
    if job.state is JobState.FAILED:
        return f": {job.failure_code or job.failure_kind.name}"
    if job.state is JobState.CANCELLED and job.cancelled_by:
        return f", by {job.cancelled_by}"
    return ""


def _plain_names(job_types: Iterable[str]) -> set[str]:
    return {split_job_type(spec)[1] for spec in job_types}


def _names(candidates: Sequence[Candidate]) -> str:
    names = sorted({one.name for one in candidates})
    more = len(names) - _NAMED_MAX
    return ", ".join(names[:_NAMED_MAX]) + (f" and {more} more" if more > 0 else "")


def time_text(us: int) -> str:
    """As RFC 3339 writes it, to the second."""
    return datetime.fromtimestamp(us // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
