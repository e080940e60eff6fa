"""Loops of the hall that would not end when they were told to."""

import asyncio
from pathlib import Path

import pytest

from tests.support.halls import open_hall


@pytest.mark.parametrize("name", ["feed", "batch_loop"])
async def test_a_loop_that_is_cancelled_as_it_is_woken_ends(name: str, tmp_path: Path) -> None:
    """What it waited for came in the very moment in which the server stopped: `asyncio.wait_for` (of Python 3.11) then
    answers as if it had not been cancelled, the loop went on for ever, and the server never ended. A simulation found
    it, one in ten thousand.
    """
    async with open_hall("memory", tmp_path) as scene:
        loop, wake = {
            "feed": (scene.hall.feed.run, scene.hall.feed._stirred),
            "batch_loop": (scene.hall.batch_loop.run, scene.hall.batch_loop._wake),
        }[name]
        running = asyncio.create_task(loop())
        for _ in range(50):
            await asyncio.sleep(0)

        wake.set()
        running.cancel()
        ended, _ = await asyncio.wait([running], timeout=5)

        assert ended
