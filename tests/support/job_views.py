"""Jobs as they are read back, for tests of what is said of them."""

from typing import Any

from jobhall.states import JobState
from jobhall_server.domain.job import JobView


def job_view(state: JobState = JobState.PENDING, **columns: Any) -> JobView:
    """A job of the type `resize` in the default namespace, in that state; the rest as `columns` say."""
    plain: dict[str, Any] = {
        "key": 1,
        "job_id": "0190a0b0-0000-7000-8000-000000000001",
        "namespace": "default",
        "job_type": "resize",
        "job_type_namespace": "default",
        "priority": 0,
        "attempt": 0,
        "max_attempts": 4,
        "worker_losses": 0,
        "revision": 1,
        "owner": "",
        "organization_id": "",
        "created_by": "",
        "created_at": 0,
        "ready_at": None,
        "claimed_at": None,
        "started_at": None,
        "ended_at": None,
        "updated_at": 0,
    }
    return JobView(**{**plain, "state": state, **columns})
