"""Submits without pause, one by one and over the stream, and remembers what was acknowledged."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Self

import jobhall

SINGLES = 3
STREAMED = 5


class Load:
    """Several submitters at once, each awaiting its answer before it submits again; leaving the block stops them.

    What the SDK cannot get acknowledged by its own retries raises there.
    """

    def __init__(self, client: jobhall.AsyncClient, job_type: str) -> None:
        self.acknowledged: list[str] = []
        self._client = client
        self._job_type = job_type
        self._stopping = False
        self._stream = client.jobs.submit_stream()
        self._submitters: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        await self._stream.__aenter__()
        self._submitters = [asyncio.create_task(self._submit(self._single)) for _ in range(SINGLES)]
        self._submitters += [asyncio.create_task(self._submit(self._streamed)) for _ in range(STREAMED)]
        return self

    async def __aexit__(self, *error: object) -> None:
        self._stopping = True
        try:
            await asyncio.gather(*self._submitters)
        finally:
            await self._stream.__aexit__(None, None, None)

    def check(self) -> None:
        """Raises what ended a submitter."""
        for submitter in self._submitters:
            if submitter.done():
                submitter.result()

    async def _submit(self, submit: Callable[[], Awaitable[str]]) -> None:
        while not self._stopping:
            self.acknowledged.append(await submit())

    async def _single(self) -> str:
        return (await self._client.jobs.submit(self._job_type)).id

    async def _streamed(self) -> str:
        return (await self._stream.submit(self._job_type)).job_id
