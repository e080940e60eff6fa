"""Below synchronous=FULL a power cut takes what watchers saw: no number is used twice, and no cursor is fooled."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import cast

import pytest
import sqlalchemy as sa

from jobhall.errors import CursorMismatchError
from jobhall.limits import EVENT_LOG_AGE
from jobhall_server.hall import tokens
from jobhall_server.hall.retention import cut_what_is_old
from jobhall_server.hall.store import Group
from jobhall_server.hall.views import LogFilter, Retention
from jobhall_server.storage.backups import back_up
from jobhall_server.storage.engines import Synchronous, parse_database_url
from jobhall_server.storage.group import Group as SqlGroup
from jobhall_server.storage.schema import PREFIX_DEFAULT
from jobhall_server.storage.store import LOG_GAP
from tests.support.stores import FILE_NAME, Act, Floor, SetClock, open_store

SECOND = timedelta(seconds=1)


@asynccontextmanager
async def served(
    folder: Path, synchronous: Synchronous = Synchronous.NORMAL, clock: SetClock | None = None
) -> AsyncIterator[Floor]:
    """A run of the server's store over what the one before left."""
    async with open_store("sqlite", folder, synchronous=synchronous, clock=clock) as store:
        yield await Floor.of(store, folder)


async def test_the_run_after_one_that_did_not_wait_for_the_disk_numbers_on_from_far_ahead(tmp_path: Path) -> None:
    async with served(tmp_path) as floor:
        await floor.submit(3)
        assert (await floor.store.reads.log_place()).gaps == (), "nothing was ever lost here"

    async with served(tmp_path) as floor:
        await floor.submit(2)

        place = await floor.store.reads.log_place()
        assert (place.first, place.last, place.gaps) == (1, 5 + LOG_GAP, ((3, 3 + LOG_GAP),))
        assert [event.number for event in await floor.events()] == [1, 2, 3]
        part = await floor.store.reads.log(LogFilter(), after=3, limit=10)
        assert [row.number for row in part.rows] == [4 + LOG_GAP, 5 + LOG_GAP]


@pytest.mark.parametrize("level", [Synchronous.FULL, Synchronous.EXTRA])
async def test_a_run_that_waits_for_the_disk_leaves_no_gap_behind_it(tmp_path: Path, level: Synchronous) -> None:
    for _ in range(2):
        async with served(tmp_path, level) as floor:
            await floor.submit(2)

    async with served(tmp_path, Synchronous.OFF) as floor:
        place = await floor.store.reads.log_place()
        assert (place.last, place.gaps) == (4, ())


async def test_it_is_the_run_before_that_tells_whether_there_is_a_gap(tmp_path: Path) -> None:
    """The server was told to wait for the disk from now on: what the run before did not write may still be lost."""
    gaps = []
    for level in (Synchronous.OFF, Synchronous.FULL, Synchronous.FULL, Synchronous.NORMAL, Synchronous.FULL):
        async with served(tmp_path, level) as floor:
            gaps.append(len((await floor.store.reads.log_place()).gaps))
            await floor.submit()

    assert gaps == [0, 1, 1, 1, 2]


@pytest.mark.parametrize("level", list(Synchronous))
async def test_each_run_remembers_whether_it_waits_and_then_waits_as_it_was_told(
    tmp_path: Path, level: Synchronous
) -> None:
    """That this is remembered waits for the disk itself, at any level; tests/system/test_power_cut.py shows it."""

    def told(group: Group) -> int:
        level: int = cast("SqlGroup", group).execution.scalar(sa.text("PRAGMA synchronous"))
        return level

    async with served(tmp_path, level) as floor:
        assert floor.rows("SELECT synced FROM jobhall_service") == [(int(level.every_commit),)]
        assert list(Synchronous)[await floor.store.run(Act(told))] is level


async def test_a_cursor_inside_a_gap_is_refused_and_those_at_its_ends_are_good(tmp_path: Path) -> None:
    async with served(tmp_path) as floor:
        await floor.submit(3)
    async with served(tmp_path) as floor:
        await floor.submit(1)
        place = await floor.store.reads.log_place()

    for number in (4, 5, 2 + LOG_GAP):
        with pytest.raises(CursorMismatchError, match="lost with the power"):
            tokens.cursor_number(tokens.cursor(place.log_id, number), place)
    for number in (0, 2, 3, 3 + LOG_GAP, 4 + LOG_GAP):
        assert tokens.cursor_number(tokens.cursor(place.log_id, number), place) == number


async def test_nothing_is_missing_before_the_first_event_where_only_gaps_are(tmp_path: Path) -> None:
    """A watch that began on an empty log stood at its very beginning, and was told after two restarts that the past
    was gone: there was none.
    """
    for _ in range(3):
        async with served(tmp_path) as floor:
            assert (await floor.store.reads.log_place()).first == 1

    async with served(tmp_path) as floor:
        await floor.submit()
        part = await floor.store.reads.log(LogFilter(), after=0, limit=10)
        assert (part.first, len(part.rows)) == (1, 1)
        assert (await floor.store.reads.log_place()).first == 1


async def test_a_gap_holds_no_events_for_the_log_to_be_cut_by(tmp_path: Path) -> None:
    """The log is kept to so many events: a restart would have cut all but those since."""
    for _ in range(3):
        async with served(tmp_path) as floor:
            await floor.submit(10)

    async with served(tmp_path) as floor:
        assert await cut_what_is_old(floor.store, Retention(events_max=30)) == 0
        assert await cut_what_is_old(floor.store, Retention(events_max=15)) == 15
        assert len(await floor.events()) == 5
        assert (await floor.store.reads.log_place()).first == 16 + LOG_GAP


async def test_gaps_go_with_the_events_before_them(tmp_path: Path) -> None:
    clock = SetClock()
    for _ in range(3):
        async with served(tmp_path, clock=clock) as floor:
            await floor.submit(10)

    async with served(tmp_path, clock=clock) as floor:
        clock.at += (EVENT_LOG_AGE + SECOND) // timedelta(microseconds=1)
        await floor.submit(1)
        assert await cut_what_is_old(floor.store, Retention()) == 30

        place = await floor.store.reads.log_place()
        start = 30 + 3 * LOG_GAP
        assert place.gaps == ((start - LOG_GAP, start),), "the one before the first event stays"
        assert (place.first, place.last) == (start - LOG_GAP + 1, start + 1)
        lost = tokens.cursor_number(tokens.cursor(place.log_id, 15), place)
        assert lost < place.first - 1, "whose past is gone"


async def test_a_backup_keeps_the_gaps_and_begins_without_one(tmp_path: Path) -> None:
    """What was left out is left out there too; its own numbers nobody has seen."""
    for _ in range(2):
        async with served(tmp_path) as floor:
            await floor.submit(2)
    (tmp_path / "copy").mkdir()
    back_up(
        parse_database_url(f"sqlite:///{tmp_path / FILE_NAME}"), tmp_path / "copy" / FILE_NAME, prefix=PREFIX_DEFAULT
    )

    async with served(tmp_path / "copy") as floor:
        place = await floor.store.reads.log_place()
        assert place.gaps == ((2, 2 + LOG_GAP),)
        assert place.last == 4 + LOG_GAP
