"""How the two halves of a stream end when the caller goes away at the worst moment."""

import asyncio
import gc
from typing import Any, cast

from jobhall_server.rpc.streams import Stream, until_either_ends


class Wire:
    """gRPC's end of a call whose write hangs, and fails when the connection is found to be gone."""

    def __init__(self) -> None:
        self.writing = asyncio.Event()
        self.gone = asyncio.Event()

    async def read(self) -> object:
        return None

    async def write(self, message: object) -> None:
        self.writing.set()
        await self.gone.wait()
        raise ConnectionError("the caller is gone")


async def test_a_write_that_fails_after_its_handler_was_cancelled_is_no_error_that_nobody_sees() -> None:
    """The caller goes away: the reader ends, and the handler waits for the write under way. Now gRPC cancels the
    handler. It left without looking at the writer, which failed a moment later: asyncio logged a stack trace.
    """
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    wire = Wire()
    stream = Stream(cast("Any", wire))
    handler = asyncio.create_task(until_either_ends(stream, stream.write("answer"), wire.writing.wait()))  # type: ignore[arg-type]
    await wire.writing.wait()
    for _ in range(20):
        await asyncio.sleep(0)

    handler.cancel()
    for _ in range(20):
        await asyncio.sleep(0)
    wire.gone.set()
    await asyncio.wait([handler])
    assert handler.cancelled()
    del handler
    gc.collect()

    asyncio.get_running_loop().set_exception_handler(None)
    assert complaints == []
