"""The use cases of those who look after many jobs: the verbs on all jobs of a filter, the counters, why one waits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from jobhall.errors import JobNotFoundError
from jobhall.limits import REASON_BYTES_MAX
from jobhall.states import TERMINAL_STATES, JobState
from jobhall_server.domain.access import ANYBODY, Principal
from jobhall_server.domain.batch import Counts
from jobhall_server.domain.job import JobView
from jobhall_server.hall import checks
from jobhall_server.hall.bulk import STEP_JOBS, CancelJobs, PurgeJobs, RetryJobs
from jobhall_server.hall.claims import Seat
from jobhall_server.hall.explain import AHEAD_MAX, Candidate, JobExplanation, Surroundings, explain
from jobhall_server.hall.registry import served_as, split_job_type
from jobhall_server.hall.roster import WorkerState, worker_state
from jobhall_server.hall.views import JobFilter, ListOrder, Page, QueueStats, QueueView, SessionView

if TYPE_CHECKING:
    from jobhall_server.hall.hall import Hall

CANCELLABLE = frozenset({JobState.SCHEDULED, JobState.PENDING, JobState.CLAIMED, JobState.RUNNING})
"""Without CANCELLING: that is asked for already."""
RETRYABLE = frozenset({JobState.FAILED, JobState.CANCELLED})

_READ_AT_ONCE = 500
_HELD_LOOKED_AT = 1000
"""Tasks of workers with room that are looked at for jobs which lost a worker."""


@dataclass(frozen=True, slots=True)
class Done:
    """What a verb on many jobs did, or in a dry run would do: how many, how many it left, whether there are more."""

    count: int = 0
    skipped_count: int = 0
    more: bool = False


@dataclass(frozen=True, slots=True)
class JobStats:
    """The counters of each queue (one per namespace and type name), and their sums."""

    total: Counts
    removed: Counts
    queues: Sequence[QueueStats]


class Management:
    """What operators do. Each use case takes the caller, and sees only the jobs that are theirs."""

    def __init__(self, hall: Hall) -> None:
        self._hall = hall
        self._reads = hall.store.reads

    async def cancel_jobs(
        self, principal: Principal, where: JobFilter, *, reason: str, jobs_max: int, dry_run: bool
    ) -> Done:
        """Cancel the jobs of the filter that have not ended, the newest first: the oldest are being begun meanwhile."""
        checks.check_text(reason, REASON_BYTES_MAX, "reason")
        grace = self._hall.settings.stream.cancel_grace_seconds

        async def take(job_ids: Sequence[str]) -> tuple[int, int]:
            asked = await self._hall.store.run(
                CancelJobs(principal, job_ids, reason, round(grace * 1e6)), refusable=True
            )
            for one in asked:
                self._hall.jobs.tell(one, reason=reason, grace_seconds=grace)
            self._hall.dispatcher.nudge()
            return len(asked), 0

        return await self._each(principal, _narrowed(where, CANCELLABLE), take, jobs_max, dry_run=dry_run)

    async def retry_jobs(self, principal: Principal, where: JobFilter, *, jobs_max: int, dry_run: bool) -> Done:
        """Make the FAILED and CANCELLED jobs of the filter PENDING again, the oldest first."""

        async def take(job_ids: Sequence[str]) -> tuple[int, int]:
            retried = await self._hall.store.run(RetryJobs(principal, job_ids), refusable=True)
            self._hall.dispatcher.nudge(retried.queue_keys)
            return retried.count, retried.skipped_count

        narrowed = _narrowed(where, RETRYABLE)
        return await self._each(principal, narrowed, take, jobs_max, dry_run=dry_run, order=ListOrder.CREATED)

    async def purge_jobs(
        self, principal: Principal, where: JobFilter, *, min_age_us: int, jobs_max: int, dry_run: bool
    ) -> Done:
        """Delete the jobs of the filter that ended at least so long ago, the oldest first."""
        ended_by = self._hall.clock.now_us() - min_age_us

        async def take(job_ids: Sequence[str]) -> tuple[int, int]:
            return await self._hall.store.run(PurgeJobs(principal, job_ids, ended_by), refusable=True), 0

        narrowed = _narrowed(where, TERMINAL_STATES)
        if narrowed is not None:
            before = ended_by + 1 if narrowed.ended_before is None else min(narrowed.ended_before, ended_by + 1)
            narrowed = replace(narrowed, ended_before=before)
        return await self._each(principal, narrowed, take, jobs_max, dry_run=dry_run, order=ListOrder.CREATED)

    async def stats(
        self, principal: Principal, namespace: str | None, *, job_types: Collection[str] = (), owner: str = ""
    ) -> JobStats:
        """Counts of a namespace (None: of all), of those types and that owner; queues in the order of their names."""
        names = {split_job_type(spec)[1] for spec in job_types}
        found = await self._reads.stats(principal, namespace, job_types=names, owner=owner)
        queues: dict[tuple[str, str], QueueStats] = {}
        for stats in found:
            if not job_types or _asked_for(stats.queue, job_types):
                place = (stats.queue.namespace, stats.queue.job_type)
                queues[place] = _merged(queues[place], stats) if place in queues else stats
        told = [queues[place] for place in sorted(queues)]
        return JobStats(
            total=_summed(stats.counts for stats in told), removed=_summed(stats.removed for stats in told), queues=told
        )

    async def explain(self, principal: Principal, job_id: str) -> JobExplanation:
        """Why the job is not running; JobNotFoundError."""
        job = await self._reads.job(principal, checks.job_id(job_id), full=False)
        if job is None:
            raise JobNotFoundError(job_id)
        if job.state not in (JobState.SCHEDULED, JobState.PENDING):
            return explain(job, Surroundings())
        queue = self._queue(job)
        batch = await self._reads.batch(ANYBODY, job.batch_id) if job.batch_id else None
        waits = job.state is JobState.PENDING and not job.held_back
        job_type = self._hall.registry.type_of(queue)
        paused = job_type is not None and job_type.paused
        around = Surroundings(
            candidates=await self._candidates(job, queue, paused=paused),
            type_paused=paused,
            batch_inactive=job.held_back or (batch is not None and not batch.record.active),
            jobs_ahead=await self._reads.jobs_ahead(job.key, limit=AHEAD_MAX) if waits else 0,
        )
        return explain(job, around)

    # --- the verbs on many jobs ---

    async def _each(
        self,
        principal: Principal,
        where: JobFilter | None,
        take: Callable[[Sequence[str]], Awaitable[tuple[int, int]]],
        jobs_max: int,
        *,
        dry_run: bool,
        order: ListOrder = ListOrder.CREATED_DESC,
    ) -> Done:
        """Walk along the jobs in steps until `jobs_max` were taken. What is left as it is does not count against it: or
        whoever calls again while there are more would find the same ones for ever.
        """
        done = skipped = 0
        place = None
        while where is not None:
            size = min(STEP_JOBS, jobs_max - done)
            job_ids, place = await self._reads.job_ids(principal, where, Page(size or 1, place, order=order))
            if job_ids and not size:
                return Done(done, skipped, more=True)
            if job_ids:
                taken, left = (len(job_ids), 0) if dry_run else await take(job_ids)
                done, skipped = done + taken, skipped + left
            if place is None:
                break
        return Done(done, skipped)

    # --- why a job waits ---

    def _queue(self, job: JobView) -> QueueView:
        known = self._hall.registry.queue_of(job)
        return known or QueueView(0, 0, job.namespace, job.job_type_namespace, job.job_type)

    async def _candidates(self, job: JobView, queue: QueueView, *, paused: bool) -> list[Candidate]:
        excluded = await self._reads.excluded_sessions(job.key)
        here: list[Seat] = [*self._hall.workers.seats(), *self._hall.unary.seats()]
        seats = {seat.session_key: seat for seat in here}
        found: dict[int, Candidate] = {}
        some: list[SessionView] | None = None
        while some is None or len(some) == _READ_AT_ONCE:
            after_key = some[-1].record.key if some else None
            some = await self._reads.sessions(after_key=after_key, limit=_READ_AT_ONCE)
            found |= {session.record.key: _candidate(session, queue, seats, paused=paused) for session in some}
        for key in excluded & found.keys():
            found[key] = replace(found[key], barred=True)
        if job.worker_losses:
            for key in await self._holders_of_lost([key for key, one in found.items() if one.serves and one.free]):
                found[key] = replace(found[key], holds_lost=True)
        return [*found.values()]

    async def _holders_of_lost(self, session_keys: Sequence[int]) -> set[int]:
        held = (await self._reads.held(session_keys))[:_HELD_LOOKED_AT]
        jobs = await self._reads.jobs_by_id(ANYBODY, [row.job_id for row in held])
        lost = {job.job_id for job in jobs if job.worker_losses}
        return {row.session_key for row in held if row.job_id in lost}


def _candidate(session: SessionView, queue: QueueView, seats: Mapping[int, Seat], *, paused: bool) -> Candidate:
    """The worker as the dispatcher sees it, where its seat is here; else as the database has it."""
    name = served_as(queue, namespaces=session.namespaces, job_types=session.job_types)
    state, seat = worker_state(session), seats.get(session.record.key)
    free, barred = max(0, session.tasks_max - session.held_count), False
    if seat is not None and name is not None:
        free = min(seat.free(), seat.free_by_type().get(name, seat.free()))
        barred = not paused and bool(queue.key) and queue.key not in seat.serves()
    elif session.record.unary:
        # It asks by itself, and does not just now.
        free = 0
    return Candidate(
        name=session.worker_name,
        job_types=session.job_types,
        namespaces=session.namespaces,
        serves=name is not None,
        state=state,
        tasks_max=session.tasks_max,
        free=free if state is WorkerState.ATTACHED else 0,
        barred=barred,
    )


def _narrowed(where: JobFilter, states: frozenset[JobState]) -> JobFilter | None:
    """The filter, of those states only; None where it names only others."""
    narrowed = where.states & states if where.states else states
    return replace(where, states=narrowed) if narrowed else None


def _asked_for(queue: QueueView, job_types: Iterable[str]) -> bool:
    return served_as(queue, namespaces=(queue.namespace,), job_types=job_types) is not None


def _merged(one: QueueStats, other: QueueStats) -> QueueStats:
    """A namespace's own type and the global one of the same name."""
    ready = [at for at in (one.oldest_ready_at, other.oldest_ready_at) if at is not None]
    return QueueStats(
        queue=one.queue,
        counts=_summed((one.counts, other.counts)),
        removed=_summed((one.removed, other.removed)),
        completed_per_second=one.completed_per_second + other.completed_per_second,
        failed_per_second=one.failed_per_second + other.failed_per_second,
        oldest_ready_at=min(ready, default=None),
    )


def _summed(counts: Iterable[Counts]) -> Counts:
    return Counts(*map(sum, zip(Counts(), *counts, strict=True)))
