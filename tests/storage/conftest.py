"""The stores that the tests of writing share: one fresh store a test, on every engine."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from jobhall_server.hall.store import Store
from tests.support.stores import ENGINES, Floor, SetClock, open_store


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
async def store(engine: str, tmp_path: Path, clock: SetClock) -> AsyncIterator[Store]:
    async with open_store(engine, tmp_path, clock=clock) as opened:
        yield opened


@pytest.fixture
async def floor(store: Store, tmp_path: Path) -> Floor:
    return await Floor.of(store, tmp_path)
