"""What those who run a server give and take: jobs brought in from elsewhere, API keys, the record of who did what."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from jobhall.model import ItemError, Job, LogEntry
from jobhall.model_insight import JobAttempt
from jobhall.plain import Plain


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedJob(Plain):
    """A job from elsewhere with all that belongs to it, as `get_job`, `attempts`, `logs` and `item_errors` told it."""

    job: Job
    attempts: tuple[JobAttempt, ...] = ()
    log_entries: tuple[LogEntry, ...] = ()
    """Lines of all its attempts, each with `attempt` and `number`."""
    item_errors: tuple[ItemError, ...] = ()
    """Those of its latest attempt, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey(Plain):
    """A bearer token for programs, as the server tells of it: never the key itself, of which it keeps but a hash."""

    id: str
    name: str = ""
    """What it is for."""
    subject: str = ""
    """Whom calls with it are made as."""
    organization_id: str = ""
    roles: tuple[str, ...] = ()
    """Of `user`, `worker`, `org_admin`, `admin`."""
    namespaces: tuple[str, ...] = ()
    """None: all that its creator may use."""
    job_types: tuple[str, ...] = ()
    """Those that a worker with it may serve; none: all."""
    prefix: str = ""
    """Its first characters, to tell it from others."""
    created_at: datetime | None = None
    expires_at: datetime | None = None
    """None: it does not end by itself."""
    last_used_at: datetime | None = None
    """To the minute."""
    revoked_at: datetime | None = None

    @property
    def revoked(self) -> bool:
        """Whether calls with it are refused for good."""
        return self.revoked_at is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatedApiKey(Plain):
    """A new key and its secret, which is shown this once."""

    api_key: ApiKey
    secret: str
    """What to send as the bearer token, so `Client(token=...)`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry(Plain):
    """One thing that was done, or refused for want of rights."""

    id: str
    """Grows with time."""
    happened_at: datetime | None = None
    subject: str = ""
    subject_name: str = ""
    organization_id: str = ""
    method: str = ""
    """`jobhall.v1.JobService/CancelJob`."""
    namespace: str = ""
    resource_type: str = ""
    """`job`, `batch`, `job_type`, `worker` or `api_key`."""
    resource_id: str = ""
    code: str = ""
    """gRPC's status code by name; `OK` where it was done."""
    reason: str = ""
    """Of the error, where it was not."""
    request_id: str = ""
    """Under which the server's log has it."""
    peer: str = ""
    """Address of the caller."""
