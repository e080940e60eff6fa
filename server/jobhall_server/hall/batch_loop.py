"""What is done for batches behind the answers: sweeps over all their jobs in small steps, and their completion jobs."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import structlog

from jobhall.errors import ApiError, DatabaseBusyError, DatabaseFullError, DrainingError
from jobhall_server.domain.access import Principal
from jobhall_server.domain.batch import BatchRecord, Sweep
from jobhall_server.hall.batch_sweeps import (
    DELETED,
    EndSweep,
    HoldStep,
    RemoveBatch,
    SubmitCompletion,
    SweepStep,
)
from jobhall_server.hall.submits import Submission

if TYPE_CHECKING:
    from jobhall_server.hall.hall import Hall

log = structlog.get_logger(__name__)

LOOK_EVERY_SECONDS = 1.0
"""For what another process left to be done."""
SWEEP_WAIT_SECONDS = 10.0
"""How long an answer waits for the sweep that it is about; a batch of some ten thousand jobs is done by then."""
RETRY_SECONDS_MAX = 300.0
"""The longest pause between two tries to submit a completion job that was refused."""


class BatchLoop:
    """One for each process; two that do the same batch's work at a time do it once all the same.

    `read_submission` reads the text of a completion job; the edge sets it, since it alone knows the messages.
    """

    def __init__(self, hall: Hall) -> None:
        self._hall = hall
        self._reads = hall.store.reads
        self._wake = asyncio.Event()
        self._waiting: dict[int, list[asyncio.Future[None]]] = defaultdict(list)
        self._refused: dict[int, _Refused] = {}
        self.read_submission: Callable[[str], Submission] | None = None
        hall.store.on_batch_end(lambda _: self.look())

    def look(self) -> None:
        """There may be something to do."""
        self._wake.set()

    async def swept(self, batch_key: int, *, within_seconds: float) -> None:
        """Wait until no sweep of that batch is under way any more, or until the time is over."""
        over = asyncio.get_running_loop().create_future()
        self._waiting[batch_key].append(over)
        self.look()
        with suppress(TimeoutError):
            await asyncio.wait_for(over, within_seconds)

    async def run(self) -> None:
        """Do what there is to do, until cancelled."""
        while True:
            self._wake.clear()
            try:
                again = await self._pass()
            except ApiError as error:
                log.debug("housekeeping_waits", work="batches", error=str(error))
                again = False
            if not again:
                # By `wait_for` a cancellation is lost (in Python 3.11) that comes with the waking.
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_EVERY_SECONDS):
                        await self._wake.wait()

    async def catch_up(self) -> None:
        """Do all that there is to do now."""
        while await self._pass():
            continue

    async def _pass(self) -> bool:
        """One step for each batch that has something to be done; whether there is more to do at once."""
        waiting = list(self._waiting)
        at_work = await self._at_work()
        swept = {batch.key for batch in at_work if batch.sweep}
        for key in waiting:
            if key not in swept:
                self._release(key)
        again = False
        for batch in at_work:
            if batch.sweep:
                again = await self._sweep(batch) or again
            elif self.read_submission is not None and self._due(batch):
                await self._complete(batch, self.read_submission)
        self._refused = {key: self._refused[key] for key in self._refused.keys() & {batch.key for batch in at_work}}
        return again

    async def _at_work(self) -> list[BatchRecord]:
        """All of them: those whose completion job is refused again and again may be many, and are no reason to wait."""
        found: list[BatchRecord] = []
        while some := await self._reads.batches_at_work(after_key=found[-1].key if found else 0):
            found += some
        return found

    def _release(self, batch_key: int) -> None:
        for over in self._waiting.pop(batch_key, ()):
            if not over.done():
                over.set_result(None)

    # --- sweeps ---

    async def _sweep(self, batch: BatchRecord) -> bool:
        """One step; whether the next can follow at once."""
        job_keys = await self._reads.members(batch.key, after_key=batch.sweep_after)
        if not job_keys:
            return await self._end(batch)
        if batch.sweep in (Sweep.HOLD_BACK, Sweep.HAND_OUT):
            await self._hall.store.run(HoldStep(batch, job_keys))
            await self._hall.store.run(SweepStep(batch, job_keys, 0))
        else:
            stream = self._hall.settings.stream
            grace_seconds = stream.cancel_grace_seconds
            asked = await self._hall.store.run(SweepStep(batch, job_keys, round(grace_seconds * 1e6)))
            reason = batch.sweep_reason if batch.sweep is Sweep.CANCEL else DELETED
            for one in asked:
                self._hall.jobs.tell(one, reason=reason, grace_seconds=grace_seconds)
        if batch.sweep is Sweep.HAND_OUT:
            # Of any queues: a batch may have jobs of each type.
            self._hall.dispatcher.poll()
        return True

    async def _end(self, batch: BatchRecord) -> bool:
        """No job follows. A batch that is deleted is walked through again until its last job is gone."""
        deleting = batch.sweep is Sweep.DELETE
        if deleting and not await self._reads.members(batch.key, after_key=0):
            await self._hall.store.run(RemoveBatch(batch))
            return True
        await self._hall.store.run(EndSweep(batch))
        # What is left of a batch that is deleted is with workers, who take their time.
        return not deleting

    # --- completion jobs ---

    def _due(self, batch: BatchRecord) -> bool:
        refused = self._refused.get(batch.key)
        return refused is None or self._hall.clock.monotonic() >= refused.until

    async def _complete(self, batch: BatchRecord, read_submission: Callable[[str], Submission]) -> None:
        """Submit the completion job of a batch that is done, as whoever created the batch."""
        assert batch.completion_job is not None
        owner = Principal(batch.owner, batch.organization_id, name=batch.created_by)
        try:
            submission = read_submission(batch.completion_job)._replace(namespace=batch.namespace)
            submits = await self._hall.jobs.prepared(owner, [submission])
            job_id = await self._hall.store.run(SubmitCompletion(batch.key, submits))
        except (DatabaseBusyError, DatabaseFullError, DrainingError):
            # Of the server, and not of this job.
            raise
        except ApiError as error:
            self._put_off(batch, error)
            return
        self._refused.pop(batch.key, None)
        if job_id is not None:
            log.info("completion_job_submitted", batch_id=batch.batch_id, job_id=job_id)
            self._hall.dispatcher.nudge(submits.queue_keys)

    def _put_off(self, batch: BatchRecord, error: ApiError) -> None:
        tries = self._refused[batch.key].tries + 1 if batch.key in self._refused else 1
        seconds = min(2.0 ** min(tries - 1, 10), RETRY_SECONDS_MAX)
        self._refused[batch.key] = _Refused(tries, self._hall.clock.monotonic() + seconds)
        log.warning(
            "completion_job_refused", batch_id=batch.batch_id, error=str(error), tries=tries, again_in_seconds=seconds
        )


class _Refused(NamedTuple):
    """A completion job that could not be submitted: how often, and when it is tried again (by the monotonic clock)."""

    tries: int
    until: float
