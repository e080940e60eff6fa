"""A watch misses nothing: whatever happens at once, and however often it is cut, it is told what the log has for it."""

from collections.abc import AsyncIterator
from types import ModuleType

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from jobhall_server.hall import feed, watch_queue
from jobhall_server.rpc import watch as rpc_watch
from tests.support.servers import Running, running_server
from tests.support.stored import Stored
from tests.support.watching.stories import STORIES, Story, authenticator, play, prepare

SMALL = ((watch_queue, "QUEUED_MAX", 3), (feed, "READ_AT_ONCE", 7), (rpc_watch, "_PART_BYTES_MAX", 700))
"""With these a watcher falls behind after a few events, and most of what it is told is cut in parts."""
BOUNDS: dict[str, tuple[tuple[ModuleType, str, int], ...]] = {"bounds as they are": (), "small bounds": SMALL}


@pytest.fixture(scope="module", params=BOUNDS)
async def stage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[Running, Stored]]:
    folder = tmp_path_factory.mktemp("stage")
    with pytest.MonkeyPatch.context() as patch:
        for module, name, bound in BOUNDS[request.param]:
            patch.setattr(module, name, bound)
        # What a power cut would take is not looked at here.
        async with running_server(folder, authenticator=authenticator(), synchronous="OFF") as server:
            yield await prepare(server), Stored(folder / "jobhall.db")


@settings(
    max_examples=20,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[*HealthCheck],
    report_multiple_bugs=False,
)
@given(story=STORIES)
async def test_every_watcher_is_told_what_the_log_has_for_it_and_nothing_else(
    stage: tuple[Running, Stored], story: Story
) -> None:
    """Clients and workers submit, relabel, cancel, delete, run and fail jobs at once. Each watcher asks for something
    else, is cut after a few messages, is away for a while, and goes on by its cursor: by a stream, or by pages.
    """
    await play(*stage, story)
