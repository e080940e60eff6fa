"""Unique keys: who has one, and what is said to those who come second."""

from __future__ import annotations

from jobhall.errors import UniqueKeyTakenError
from jobhall_server.domain.job import JobRecord
from jobhall_server.hall.store import Group, UniqueKey


def taken_by(group: Group, unique: UniqueKey) -> JobRecord | None:
    """The job that keeps others from the key now: one that is not terminal, or that is within its window still."""
    holder = group.holder(unique)
    if holder is None:
        return None
    kept = not holder.job.state.terminal or (holder.until is not None and holder.until > group.now)
    return holder.job if kept else None


def key_taken(text: str, job_id: str) -> UniqueKeyTakenError:
    """The refusal; `job_id` is empty where the caller may not see the job."""
    by = f"job {job_id}" if job_id else "another job"
    return UniqueKeyTakenError(
        f"unique_key {text!r} is taken by {by}", metadata={"unique_key": text} | ({"job_id": job_id} if job_id else {})
    )
