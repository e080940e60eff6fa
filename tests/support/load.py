"""Submits one by one and over the stream, at its own pace, and remembers what was acknowledged."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any, Self

import jobhall
from jobhall.ids import new_id
from tests.support.history import Answer, Recorder, What

SINGLES = 3
STREAMED = 5
SUBMITTERS = SINGLES + STREAMED


class Load:
    """Several submitters at once, each awaiting its answer before it submits again; leaving the block stops them.

    `parameters` makes those of each job, `options` go with every submit. With a recorder the calls go on record, and
    some reads beside them. What the SDK cannot get acknowledged by its own retries raises at the end, or by `check`.
    """

    def __init__(
        self,
        client: jobhall.AsyncClient,
        job_type: str,
        *,
        parameters: Callable[[], Any] = lambda: None,
        pause_seconds: float = 0,
        recorder: Recorder | None = None,
        **options: Any,
    ) -> None:
        self.acknowledged: list[str] = []
        self._client = client
        self._job_type = job_type
        self._parameters = parameters
        self._pause_seconds = pause_seconds
        self._recorder = recorder
        self._options = options
        self._stopping = False
        self._stream = client.jobs.submit_stream()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        await self._stream.__aenter__()
        self._tasks = [asyncio.create_task(self._submit(self._single)) for _ in range(SINGLES)]
        self._tasks += [asyncio.create_task(self._submit(self._streamed)) for _ in range(STREAMED)]
        if self._recorder is not None:
            self._tasks.append(asyncio.create_task(self._read(self._recorder)))
        return self

    async def __aexit__(self, *error: object) -> None:
        self._stopping = True
        try:
            await asyncio.gather(*self._tasks)
        finally:
            await self._stream.__aexit__(None, None, None)

    def check(self) -> None:
        """Raises what ended a submitter."""
        for task in self._tasks:
            if task.done():
                task.result()

    async def _submit(self, submit: Callable[[str], Awaitable[None]]) -> None:
        while not self._stopping:
            job_id = new_id()
            if self._recorder is None:
                await submit(job_id)
            else:
                with self._recorder.call(What.SUBMIT, job_id) as outcome:
                    await submit(job_id)
                    outcome.answer = Answer.OK
            self.acknowledged.append(job_id)
            await asyncio.sleep(self._pause_seconds)  # sleeps: it is the pace of the load

    async def _single(self, job_id: str) -> None:
        await self._client.jobs.submit(self._job_type, self._parameters(), job_id=job_id, **self._options)

    async def _streamed(self, job_id: str) -> None:
        await self._stream.submit(self._job_type, self._parameters(), job_id=job_id, **self._options)

    async def _read(self, recorder: Recorder) -> None:
        while not self._stopping:
            await asyncio.sleep(self._pause_seconds)  # sleeps: it is the pace of the load
            if self.acknowledged:
                job_id = random.choice(self.acknowledged)
                with recorder.call(What.READ, job_id) as outcome:
                    outcome.revision = (await self._client.jobs.get_job(job_id)).revision
                    outcome.answer = Answer.OK
