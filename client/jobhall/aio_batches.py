"""`client.batches` of the async client; `client_batches` is its twin, and says more of each method."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from datetime import timedelta
from typing import Unpack

from jobhall import calls_batches
from jobhall.aio_driver import AsyncDriver
from jobhall.calls import Call
from jobhall.calls_batches import BatchPageOptions, NewBatch
from jobhall.filters import settled
from jobhall.model import AccessControl
from jobhall.model_batches import Batch, BatchPage
from jobhall.procedures import Procedures
from jobhall.spans import seconds
from jobhall.states import CompletionPolicy
from jobhall.submission import Submission
from jobhall.unchanged import UNCHANGED, Unchanged
from jobhall.waiting import Waiting


class AsyncBatchesApi:
    """`client.batches`: groups jobs, counts them, holds them back, cancels them all; see `BatchesApi`."""

    def __init__(self, driver: AsyncDriver, procedures: Procedures, waiting: Waiting) -> None:
        self._driver = driver
        self._procedures = procedures
        self._waiting = waiting

    async def create(
        self,
        name: str = "",
        *,
        jobs: Iterable[Submission] = (),
        namespace: str = "",
        closed: bool = False,
        active: bool = True,
        completion_job: Submission | None = None,
        completion_policy: CompletionPolicy = CompletionPolicy.UNSPECIFIED,
        access_control: AccessControl | None = None,
        batch_id: str = "",
        validate_only: bool = False,
    ) -> Batch:
        """Creates a batch, with up to 1000 jobs or none; all or nothing. `job_ids` of the answer names these jobs.

        batch = await client.batches.create("photos", jobs=[Submission("resize", "a.png")], closed=True)
        print(batch.id, batch.job_ids)
        """
        new = NewBatch(
            name=name,
            namespace=namespace,
            jobs=jobs,
            closed=closed,
            active=active,
            completion_job=completion_job,
            completion_policy=completion_policy,
            access_control=access_control,
            batch_id=batch_id,
        )
        return await self._call(calls_batches.create_batch(new, validate_only=validate_only))

    async def get(self, batch_id: str) -> Batch:
        """Reads one batch: its counts, progress and state; raises BatchNotFoundError.

        print((await client.batches.get(batch.id)).progress.percent)
        """
        return await self._call(calls_batches.get_batch(batch_id))

    async def list(self, **options: Unpack[BatchPageOptions]) -> AsyncIterator[Batch]:
        """Goes through all matching batches, the newest first; reads the pages as it goes.

        async for batch in client.batches.list(states=[BatchState.PROCESSING]):
            print(batch.name, batch.counts.total)
        """
        options = settled(options)
        while True:
            page = await self.list_page(**options)
            for batch in page.batches:
                yield batch
            if not page.next_page_token:
                return
            options["page_token"] = page.next_page_token
            options.pop("skip", None)

    async def list_page(self, **options: Unpack[BatchPageOptions]) -> BatchPage:
        """Reads one page of that list; a page may be short and yet not be the last."""
        return await self._driver.run(self._procedures.call(calls_batches.list_batches(options)))

    async def update(
        self,
        batch_id: str,
        *,
        name: str | Unchanged = UNCHANGED,
        closed: bool | Unchanged = UNCHANGED,
        active: bool | Unchanged = UNCHANGED,
        completion_job: Submission | Unchanged | None = UNCHANGED,
        completion_policy: CompletionPolicy | Unchanged = UNCHANGED,
        access_control: AccessControl | Unchanged | None = UNCHANGED,
        etag: str = "",
    ) -> Batch:
        """Changes what is given; None clears. Not `active` holds back what is not handed out yet; what runs goes on.

        await client.batches.update(batch.id, name="photos of May", active=False)
        """
        call = calls_batches.update_batch(
            batch_id,
            name=name,
            closed=closed,
            active=active,
            completion_job=completion_job,
            completion_policy=completion_policy,
            access_control=access_control,
            etag=etag,
        )
        return await self._call(call)

    async def close(self, batch_id: str, *, etag: str = "") -> Batch:
        """Lets the batch take no more jobs, so that it can come to an end.

        await client.batches.close(batch.id)
        """
        return await self.update(batch_id, closed=True, etag=etag)

    async def cancel(self, batch_id: str, *, reason: str = "", etag: str = "") -> Batch:
        """Closes the batch and cancels all its jobs; some may still stop when this returns.

        await client.batches.cancel(batch.id, reason="the wrong photos")
        """
        return await self._call(calls_batches.cancel_batch(batch_id, reason=reason, etag=etag))

    async def delete(self, batch_id: str, *, etag: str = "") -> Batch:
        """Deletes the batch with its jobs, and returns it as it last was; raises BatchRunningError.

        await client.batches.delete(batch.id)
        """
        return await self._call(calls_batches.delete_batch(batch_id, etag=etag))

    async def wait(
        self,
        batch_id: str,
        *,
        timeout: float | timedelta | None = None,
        poll_interval: float | timedelta = 2.0,
        on_update: Callable[[Batch], None] | None = None,
    ) -> Batch:
        """Waits until the batch has ended, COMPLETED or FAILED, and returns it; one that is not closed never ends.

        batch = await client.batches.wait(batch.id, timeout=600, on_update=lambda seen: print(seen.progress.percent))
        """
        procedure = self._waiting.for_batch(
            batch_id,
            timeout_seconds=None if timeout is None else seconds(timeout, field="timeout"),
            poll_seconds=seconds(poll_interval, field="poll_interval"),
            on_update=on_update,
        )
        return await self._driver.run(procedure)

    async def _call(self, call: Call[Batch]) -> Batch:
        return await self._driver.run(self._procedures.call(call))
