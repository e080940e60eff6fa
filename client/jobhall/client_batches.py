"""`client.batches` of the blocking client; `aio_batches` is its twin."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Unpack

from jobhall import calls_batches
from jobhall.calls import Call
from jobhall.calls_batches import BatchPageOptions, NewBatch
from jobhall.client_driver import Driver
from jobhall.filters import settled
from jobhall.model import AccessControl
from jobhall.model_batches import Batch, BatchPage
from jobhall.procedures import Procedures
from jobhall.spans import seconds
from jobhall.states import CompletionPolicy
from jobhall.submission import Submission
from jobhall.unchanged import UNCHANGED, Unchanged
from jobhall.waiting import Waiting


class BatchesApi:
    """`client.batches`: groups jobs, counts them, holds them back, cancels them all, and runs one more at their end.

    batch = client.batches.create("nightly", jobs=[Submission("resize", {"file": name}) for name in names])
    client.jobs.submit("resize", {"file": "late.png"}, batch_id=batch.id)
    client.batches.close(batch.id)
    print(client.batches.wait(batch.id, timeout=600).counts)
    """

    def __init__(self, driver: Driver, procedures: Procedures, waiting: Waiting) -> None:
        self._driver = driver
        self._procedures = procedures
        self._waiting = waiting

    def create(
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

        The jobs name no namespace: they live in the batch's. `closed`: it takes no more. Not `active`: its jobs are
        held back until it is. `completion_job` is submitted once when it is closed and all its jobs are COMPLETED, or
        by ALL_TERMINAL have ended. Without a `batch_id` of your own a fresh one is chosen here, so that the retries of
        this call make one batch. `validate_only` checks everything and stores nothing. Raises BatchIdReusedError, and
        for its jobs what `jobs.submit` raises.

            batch = client.batches.create("photos", jobs=[Submission("resize", "a.png")], closed=True)
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
        return self._call(calls_batches.create_batch(new, validate_only=validate_only))

    def get(self, batch_id: str) -> Batch:
        """Reads one batch: its counts, progress and state; raises BatchNotFoundError.

        print(client.batches.get(batch.id).progress.percent)
        """
        return self._call(calls_batches.get_batch(batch_id))

    def list(self, **options: Unpack[BatchPageOptions]) -> Iterator[Batch]:
        """Goes through all matching batches, the newest first; reads the pages as it goes.

        for batch in client.batches.list(states=[BatchState.PROCESSING]):
            print(batch.name, batch.counts.total)
        """
        options = settled(options)
        while True:
            page = self.list_page(**options)
            yield from page.batches
            if not page.next_page_token:
                return
            options["page_token"] = page.next_page_token
            options.pop("skip", None)

    def list_page(self, **options: Unpack[BatchPageOptions]) -> BatchPage:
        """Reads one page of that list; a page may be short and yet not be the last."""
        return self._driver.run(self._procedures.call(calls_batches.list_batches(options)))

    def update(
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

        With an `etag` the change is made only if the batch still has it, else EtagMismatchError. Raises
        BatchClosedError where it is to be opened again.

            client.batches.update(batch.id, name="photos of May", active=False)
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
        return self._call(call)

    def close(self, batch_id: str, *, etag: str = "") -> Batch:
        """Lets the batch take no more jobs, so that it can come to an end.

        client.batches.close(batch.id)
        """
        return self.update(batch_id, closed=True, etag=etag)

    def cancel(self, batch_id: str, *, reason: str = "", etag: str = "") -> Batch:
        """Closes the batch and cancels all its jobs; some may still stop when this returns.

        client.batches.cancel(batch.id, reason="the wrong photos")
        """
        return self._call(calls_batches.cancel_batch(batch_id, reason=reason, etag=etag))

    def delete(self, batch_id: str, *, etag: str = "") -> Batch:
        """Deletes the batch with its jobs, and returns it as it last was; raises BatchRunningError.

        client.batches.delete(batch.id)
        """
        return self._call(calls_batches.delete_batch(batch_id, etag=etag))

    def wait(
        self,
        batch_id: str,
        *,
        timeout: float | timedelta | None = None,
        poll_interval: float | timedelta = 2.0,
        on_update: Callable[[Batch], None] | None = None,
    ) -> Batch:
        """Waits until the batch has ended, COMPLETED or FAILED, and returns it; one that is not closed never ends.

        Raises BatchTimeoutError after `timeout` seconds (None: never). A watch tells when it has ended; besides it is
        looked at, often at first, and then every `poll_interval`, at most ten times a second, and `on_update` is called
        with what is seen each time.

            batch = client.batches.wait(batch.id, timeout=600, on_update=lambda seen: print(seen.progress.percent))
        """
        procedure = self._waiting.for_batch(
            batch_id,
            timeout_seconds=None if timeout is None else seconds(timeout, field="timeout"),
            poll_seconds=seconds(poll_interval, field="poll_interval"),
            on_update=on_update,
        )
        return self._driver.run(procedure)

    def _call(self, call: Call[Batch]) -> Batch:
        return self._driver.run(self._procedures.call(call))
