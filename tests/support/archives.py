"""A server with a job of every kind to export, and what an import is to make of each."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from jobhall import (
    AccessControl,
    Client,
    CompletionPolicy,
    FileInfo,
    Job,
    JobState,
    RetryPolicy,
    Submission,
    TraceContext,
    UniquePolicy,
    Visibility,
)
from tests.support.command_line import Hall
from tests.support.waiting import eventually

WITHIN = 20.0
TASKS = """
import time
from pathlib import Path
import jobhall

worker = jobhall.Worker(name="maker", namespace="-", concurrency=16)

@worker.handler("copy")
def copy(task):
    task.log("begun: Zoë ☃", rows=3, names=["a", None])
    task.log(bytes([255]) + b" is not UTF-8", level="warning")
    task.progress(total=3, processed=2, succeeded=1, failed=1, step="copying", unit="rows", details={"deep": [1, {}]})
    task.item_error(index=1, key="ACME", code="ODD", message="odd row")
    task.item_error(index=2)
    task.checkpoint({"json": 1})
    if task.attempt == 1:
        raise ValueError("the first time")
    task.log("again", level="error")
    return bytes([0, 255]) if task.parameters else {"base64": "AAE="}

@worker.handler("decline")
def decline(task):
    task.log("no")
    raise jobhall.TaskFailed("declined", code="DECLINED", retryable=False, details={"why": ["x"]})

@worker.handler("hold")
def hold(task):
    task.log("held")
    task.progress(percent=40, step="holding")
    task.checkpoint(b"half")
    while not Path("let-go").exists():
        time.sleep(0.02)
    return {"held": task.fence}
"""
OTHERS = """
import jobhall

worker = jobhall.Worker(name="other", namespace="-", concurrency=16)

@worker.handler("parked")
def parked(task):
    return {"n": task.parameters["n"]}

@worker.handler("finish")
def finish(task):
    return "finished"

@worker.handler("hold")
def hold(task):
    return {"from": len(task.checkpoint_state or b""), "fence": task.fence}
"""


def fill(hall: Hall, client: Client) -> dict[str, str]:
    """Jobs in every state, by name; with a worker that holds some until `let-go` is in its folder."""
    (hall.folder / "maker.py").write_text(TASKS)
    hall.work("maker")
    for namespace in ("default", "other"):
        client.types.register("parked", namespace=namespace, parameters_schema={"type": "object"})
    client.types.register("finish", description="ends a batch")
    client.types.register("public", namespace="@global")
    ids = {name: client.jobs.submit(kind, **options).id for name, (kind, options) in _submits().items()}
    ids |= _batches(client)
    client.jobs.cancel_job(ids["cancelled"], reason="not needed: ☃")
    for name, state in _REACHED.items():
        await_state(client, ids[name], state)
    client.jobs.retry_job(ids["retried"])
    eventually(
        lambda: len(list(client.jobs.attempts(ids["retried"]))) == 2 and client.jobs.get_job(ids["retried"]).done,
        within=WITHIN,
        what="the retried one fails again",
    )
    client.jobs.cancel_job(ids["cancelling"], reason="stop", grace=timedelta(minutes=10))
    await_state(client, ids["cancelling"], JobState.CANCELLING)
    return ids


def let_go(hall: Hall) -> None:
    """Lets the worker finish what it holds."""
    (hall.folder / "let-go").touch()


def work_elsewhere(hall: Hall) -> None:
    """A worker for what the first one leaves."""
    (hall.folder / "others.py").write_text(OTHERS)
    hall.work("others")


def await_state(client: Client, job_id: str, state: JobState) -> Job:
    """The job once it is in that state; one that runs also has to have said how far it is."""

    def there() -> Job | None:
        job = client.jobs.get_job(job_id, include_checkpoint=True)
        said = state is not JobState.RUNNING or (job.progress.percent == 40 and job.checkpoint is not None)
        return job if job.state is state and said else None

    found = eventually(there, within=WITHIN, what=f"job {job_id} is {state.name}")
    assert found is not None
    return found


def _submits() -> dict[str, tuple[str, dict[str, Any]]]:
    soon = RetryPolicy(initial_delay=timedelta(milliseconds=50))
    return {
        "completed": ("copy", {"parameters": {"name": "Zoë ☃", "base64": 1}, "retry_policy": soon}),
        "looks like bytes": ("copy", {"parameters": {}, "retry_policy": soon, "max_attempts": 2}),
        "failed": ("decline", {"parameters": {"base64": "AAE="}}),
        "retried": ("decline", {"parameters": [1, 2.5, None]}),
        "backing off": ("copy", {"retry_policy": RetryPolicy(initial_delay=timedelta(hours=1))}),
        "running": ("hold", {"parameters": {"n": 1}, "start_deadline": timedelta(hours=1)}),
        "cancelling": ("hold", {"parameters": {"n": 2}}),
        "bytes": ("public", {"parameters": b"\x89PNG\xff", "content_type": "image/png", "schedule_time": _LATER}),
        "cancelled": ("parked", {"parameters": {"n": 3}}),
        "pending": ("parked", {"parameters": {"n": 4}, "priority": -7}),
        "elsewhere": ("parked", {"parameters": {"n": 5}, "namespace": "other"}),
        "global": ("public", {}),
        "scheduled": ("parked", _EVERYTHING),
    }


_LATER = datetime(2099, 1, 1, tzinfo=UTC)
_EVERYTHING: dict[str, Any] = {
    "parameters": {"n": 6},
    "schedule_time": _LATER,
    "start_deadline": _LATER + timedelta(microseconds=7),
    "labels": {"team": "röd", "a/b": ""},
    "path": "/reports/annual",
    "file_info": FileInfo("annual.csv", 12345),
    "priority": 42,
    "max_attempts": 9,
    "retry_policy": RetryPolicy(non_retryable_codes=("X", "Y"), max_delay=timedelta(seconds=90), jitter=0.0),
    "run_timeout": timedelta(minutes=5),
    "progress_timeout": timedelta(seconds=30),
    "retention": timedelta(days=400),
    "unique_key": "annual",
    "unique_policy": UniquePolicy.REJECT,
    "access_control": AccessControl(
        visibility=Visibility.PUBLIC, read_access=("ann",), write_access=("ben",), admin_access=("cy", "di")
    ),
    "trace_context": TraceContext("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "vendor=1"),
}
_REACHED = {
    "completed": JobState.COMPLETED,
    "looks like bytes": JobState.COMPLETED,
    "failed": JobState.FAILED,
    "retried": JobState.FAILED,
    "backing off": JobState.SCHEDULED,
    "running": JobState.RUNNING,
    "cancelling": JobState.RUNNING,
    "ended batch": JobState.FAILED,
}


def _batches(client: Client) -> dict[str, str]:
    finish = Submission("finish")
    ended = client.batches.create(
        "ended",
        jobs=[Submission("decline")],
        closed=True,
        completion_job=Submission("parked", {"n": 0}),
        completion_policy=CompletionPolicy.ALL_TERMINAL,
    )
    under_way = client.batches.create(
        "under way", jobs=[Submission("parked", {"n": n}) for n in (7, 8)], closed=True, completion_job=finish
    )
    open_one = client.batches.create("open", jobs=[Submission("parked", {"n": 9})], active=False)
    eventually(
        lambda: client.batches.get(ended.id).completion_job_id, within=WITHIN, what="the completion job is submitted"
    )
    return {
        "ended batch": ended.job_ids[0],
        "its end": client.batches.get(ended.id).completion_job_id,
        "under way": under_way.job_ids[0],
        "under way too": under_way.job_ids[1],
        "held back": open_one.job_ids[0],
    }


# --- what a file is to say, and what an import makes of it ---


def told(client: Client, job_id: str) -> dict[str, Any]:
    """All that the server tells of a job, as a file is to say it."""
    attempts = list(client.jobs.attempts(job_id))
    numbers = sorted({attempt.attempt for attempt in attempts})
    return {
        "job": client.jobs.get_job(job_id, include_checkpoint=True).to_dict(),
        "attempts": [attempt.to_dict() for attempt in attempts],
        "log_entries": [line.to_dict() for it in numbers for line in client.jobs.logs(job_id, attempt=it)],
        "item_errors": [error.to_dict() for error in client.jobs.item_errors(job_id)],
        "events": [event.to_dict() for event in client.jobs.events(job_ids=[job_id])],
    }


def imported(said: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """What a job's file is to say after an import, given what it said; `now` has the times that the import set."""
    job, attempts = dict(said["job"]), [dict(it) | {"session_id": ""} for it in said["attempts"]]
    state = job["state"]
    if state == "RUNNING":
        job |= {"state": "PENDING", "attempt": job["attempt"] - 1, "worker_losses": 0, "start_deadline": None}
        attempts[-1] |= {"outcome": "RELEASED", "ended_at": now["job"]["updated_at"]}
    elif state == "CANCELLING":
        job |= {"state": "CANCELLED", "ended_at": now["job"]["updated_at"]}
        attempts[-1] |= {"outcome": "CANCELLED", "ended_at": now["job"]["updated_at"]}
    job |= {"revision": job["revision"] + 1, "etag": str(job["revision"] + 1), "current_task": None}
    for name in ("updated_at", "purge_at", "timing"):
        job[name] = now["job"][name]
    return said | {"job": job, "attempts": attempts, "events": now["events"], "place": now["place"]}


def files_of(directory: Path) -> dict[str, Path]:
    """The files of all jobs, by id."""
    return {path.stem: path for name in _FOLDERS for path in (directory / name).glob("*.json")}


_FOLDERS = ("pending", "running", "complete", "failed", "cancelled")
