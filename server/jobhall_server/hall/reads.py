"""The queries that the use cases ask of a store."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from jobhall.states import LogLevel
from jobhall_server.domain.access import Principal
from jobhall_server.domain.batch import BatchRecord, BatchView
from jobhall_server.domain.job import AttemptView, ItemError, JobView, Payload
from jobhall_server.hall.views import (
    BatchFilter,
    BatchOrder,
    Expired,
    HeldRow,
    JobFilter,
    JobPage,
    JobTypeView,
    LogFilter,
    LogLine,
    LogPlace,
    LogSlice,
    Page,
    Place,
    PurgeStep,
    QueueStats,
    QueueView,
    Retention,
    SessionView,
)


class Reads(Protocol):
    """The store's queries. Each reads at most 1,000 rows and never holds a transaction over an await.

    Every one that reads jobs for a caller takes the caller and leaves out what does not exist for them.
    """

    async def job(self, principal: Principal, job_id: str, *, full: bool = True) -> JobView | None:
        """One job; `full` adds parameters, result and error."""

    async def jobs_by_id(self, principal: Principal, job_ids: Sequence[str], *, full: bool = False) -> list[JobView]:
        """Those of the jobs that exist for the caller, in no order."""

    async def jobs(self, principal: Principal, where: JobFilter, page: Page) -> JobPage:
        """A page of matching jobs, BASIC."""

    async def job_ids(self, principal: Principal, where: JobFilter, page: Page) -> tuple[list[str], Place | None]:
        """The ids of such a page, and the place from which to read on (None at the end)."""

    async def checkpoint(self, job_key: int) -> Payload | None:
        """What the job's next attempt starts from."""

    async def attempts(self, job_key: int, *, after_fence: int, limit: int) -> list[AttemptView]:
        """Attempts at the job with greater fences, in order: the kept ones, and the one that its row tells of."""

    async def attempt_fence(self, job_key: int, attempt: int) -> int | None:
        """The newest fence of the attempt of that number; 0 means the latest attempt. None where there is none."""

    async def item_errors(
        self, job_key: int, *, fence: int, after_number: int, limit: int
    ) -> list[tuple[int, ItemError]]:
        """Item errors of one lease with their numbers, in order."""

    async def log_lines(
        self, job_key: int, *, fence: int, after_number: int, limit: int, min_level: LogLevel = LogLevel.UNSPECIFIED
    ) -> list[tuple[int, LogLine]]:
        """Log lines of one lease, of at least that level, with their numbers, in order."""

    async def log_lines_dropped(self, job_key: int, *, fence: int) -> int:
        """How many lines of the lease were not kept, since its bound was reached."""

    async def stats(
        self, principal: Principal, namespace: str | None, *, job_types: Collection[str] = (), owner: str = ""
    ) -> list[QueueStats]:
        """The counters of each queue of a namespace (None: of all), of jobs that the caller may see."""

    async def jobs_ahead(self, job_key: int, *, limit: int) -> int:
        """How many jobs of its queue a claim would take before this PENDING one; counted up to `limit`."""

    async def excluded_sessions(self, job_key: int) -> frozenset[int]:
        """The sessions that gave the job back as not theirs."""

    async def jobs_to_purge(self, keep: Retention, *, after_key: int) -> PurgeStep:
        """Look at the next 1,000 jobs by key for those whose time after their end is over, by their own word or, where
        they say nothing, by `keep`.
        """

    async def schemas(self, job_type_key: int, version: int) -> tuple[str | None, str | None]:
        """The schemas of parameters and result that the type had in that version."""

    async def type_of_queue(self, queue_key: int) -> int:
        """The key of the queue's type, deleted since or not."""

    async def any_result_schema(self) -> bool:
        """Whether there is a type, deleted or not, that has or had a schema of results."""

    async def type_versions(self, job_keys: Sequence[int]) -> dict[int, tuple[int, int]]:
        """Queue key and type version of those jobs, for reports of tasks that nobody here holds."""

    async def batch(self, principal: Principal, batch_id: str) -> BatchView | None:
        """One batch; one that is being deleted exists no more."""

    async def batches(
        self,
        principal: Principal,
        where: BatchFilter,
        *,
        order: BatchOrder,
        after: tuple[str, int] | None,
        limit: int,
        skip: int = 0,
    ) -> list[BatchView]:
        """Matching batches after that place, `skip` left out: the name (empty where the list is by time) and key of the
        last one.
        """

    async def members(self, batch_key: int, *, after_key: int) -> list[int]:
        """The keys of the batch's next jobs after that one, in order; 500 at most, none at the end."""

    async def batches_at_work(self, *, after_key: int = 0) -> list[BatchRecord]:
        """Batches with a sweep to go on with or a completion job to submit, by key; at most 1,000, none at the end."""

    async def log_place(self) -> LogPlace:
        """Where the event log begins and ends now."""

    async def log(self, where: LogFilter, *, after: int, limit: int, until: int | None = None) -> LogSlice:
        """Events with greater numbers, in order, none beyond `until`; a slice may be short and yet not the last."""

    async def job_keys_of(self, job_ids: Sequence[str]) -> dict[str, int]:
        """The keys of those jobs, by id, as far as they exist; for whoever may see them or not."""

    async def job_types(self, namespace: str | None = None) -> list[JobTypeView]:
        """Registered types of one namespace or of all, by namespace and name, without the retired ones."""

    async def job_types_mark(self) -> tuple[int, int]:
        """How many types there are, retired ones too, and all their changes: while both stay, so do all types."""

    async def queues(self, *, after_key: int = 0) -> list[QueueView]:
        """Queues made after that key, by key; those of one namespace and type never change."""

    async def expired(self, *, ttl_us: int) -> Expired:
        """What the reaper has to move on; `ttl_us` is the time to live of sessions that have none of their own.

        Nothing but a job that waits falls due, and no session expires, before time was served for `ttl_us` without a
        pause: outages re-execute nothing.
        """

    async def held(self, session_keys: Sequence[int]) -> list[HeldRow]:
        """Every task that those sessions hold, however many, by session and key."""

    async def session(self, session_id: str) -> SessionView | None:
        """One living session."""

    async def sessions(self, *, after_key: int | None, limit: int) -> list[SessionView]:
        """Living sessions with smaller keys (None: from the newest), newest first."""
