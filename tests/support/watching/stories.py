"""A story: what several clients and workers do at once, who watches it meanwhile, and that nobody missed any of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import strategies as st

from jobhall.ids import new_id
from jobhall.states import EventType
from jobhall.v1 import job_service_pb2 as pb
from jobhall_server.domain.access import ADMIN_ROLE, Principal
from tests.support.authenticators import ByToken
from tests.support.calls import register
from tests.support.servers import Running
from tests.support.stored import Stored
from tests.support.waiting import eventually_async
from tests.support.watching.model import check_model
from tests.support.watching.oracle import Asked, Entry, Sight, Told, expected, number_of, read_log, same
from tests.support.watching.traffic import JOB_TYPES, LABELS, NAMESPACES, SUBJECTS, Deed, What, World, open_batch
from tests.support.watching.watchers import LOGGED, CutWatcher, Leg, all_pages

PLACES = 6
"""Jobs whose ids are known before they are there."""
END_SECONDS = 20.0
CALLERS = {
    "": Principal("root", roles=frozenset({ADMIN_ROLE})),
    "alice": Principal("alice", "red", roles=frozenset({"user"})),
    "bob": Principal("bob", roles=frozenset({"user"})),
}
SIGHTS = {"": Sight(), "alice": Sight("alice", "red"), "bob": Sight("bob")}


@dataclass(frozen=True, slots=True)
class Watch:
    """One watcher of a story; jobs and batches by their places."""

    asked: Asked
    places: tuple[int, ...] = ()
    batch: int | None = None
    caller: str = ""
    legs: tuple[Leg, ...] = ()
    from_start: bool = True
    """Else from when it comes, with a snapshot."""


@dataclass(frozen=True, slots=True)
class Story:
    beginning: tuple[Deed, ...]
    actors: tuple[tuple[Deed, ...], ...]
    watches: tuple[Watch, ...]
    page_size: int


def authenticator() -> ByToken:
    """Knows the callers of stories."""
    return ByToken(**{name or "root": principal for name, principal in CALLERS.items()})


def metadata_of(subject: str) -> Any:
    return (("authorization", f"Bearer {subject or 'root'}"),)


# --- what may be drawn ---

_LABELS = st.sampled_from([(), LABELS[1], LABELS[2], LABELS[3], (("tier", "gold"),)])
_TYPES = st.sampled_from([(), (), (), ("score",), JOB_TYPES])
_KINDS = st.lists(st.sampled_from([*LOGGED, EventType.ENTERED, EventType.LEFT]), max_size=5, unique=True)
_LEGS = st.lists(
    st.builds(
        Leg,
        messages=st.integers(0, 3),
        by_pages_of=st.sampled_from([0, 0, 0, 1, 3, 100]),
        away_seconds=st.sampled_from([0.0, 0.0, 0.001, 0.01, 0.03]),
    ),
    max_size=6,
).map(tuple)
_DEEDS = st.lists(
    st.builds(
        Deed,
        st.sampled_from([*What, *[What.LABEL] * 4, What.WORK, What.WORK, What.SUBMIT]),
        st.integers(0, PLACES - 1),
        st.integers(0, 63),
    ),
    min_size=4,
    max_size=14,
).map(tuple)
_BEGINNINGS = st.lists(st.integers(0, 63), min_size=PLACES // 2, max_size=PLACES).map(
    lambda choices: tuple(Deed(What.SUBMIT, place, choice) for place, choice in enumerate(choices))
)
"""Most places have a job before anything else is done."""


@st.composite
def watches(draw: st.DrawFn) -> Watch:
    caller = draw(st.sampled_from(["", "", "", "alice", "bob"]))
    batch = draw(st.sampled_from([None, None, None, 0])) if caller != "bob" else None
    places = () if batch is not None else draw(st.sampled_from([(), (), (0, 2), tuple(range(PLACES))]))
    kinds = draw(_KINDS) if draw(st.booleans()) else []
    asked = Asked(
        namespace="default" if batch is not None else draw(st.sampled_from(["", "other", "-", "-"])),
        job_types=draw(_TYPES),
        owner=draw(st.sampled_from(["", "", "", caller or "alice"])),
        labels=draw(_LABELS),
        # The end of what it watches must be told to every watcher.
        event_types=(*kinds, EventType.DELETED) if kinds and EventType.DELETED not in kinds else tuple(kinds),
    )
    return Watch(asked, places, batch, caller, draw(_LEGS), from_start=draw(st.booleans()))


STORIES = st.builds(
    Story,
    beginning=_BEGINNINGS,
    actors=st.lists(_DEEDS, min_size=2, max_size=4).map(tuple),
    watches=st.lists(watches(), min_size=3, max_size=8).map(tuple),
    page_size=st.sampled_from([1, 7, 1000]),
)


# --- how it is played ---


async def prepare(server: Running) -> Running:
    """With the types of all stories."""
    for namespace in NAMESPACES:
        for name in JOB_TYPES:
            await register(server, name, namespace, metadata=metadata_of(""))
    return server


async def play(server: Running, stored: Stored, story: Story) -> None:
    """Everything that happens, and what everybody was told of it against the events table."""
    batch_ids = [new_id(), new_id()]
    world = World(server, [new_id() for _ in range(PLACES)], batch_ids, metadata_of)
    for batch_id in batch_ids:
        await open_batch(world, batch_id)
    start = await _here(server)
    parties = [_Party(world, watch, start) for watch in story.watches]
    async with asyncio.timeout(END_SECONDS), asyncio.TaskGroup() as group:
        for party in parties:
            group.create_task(party.watch())
        await world.do_all([story.beginning])
        await world.do_all(story.actors)
        for party in parties:
            await party.end()
    log = read_log(stored)
    for party in parties:
        party.judge(log)
        await party.judge_pages(stored, start, story.page_size)


async def _here(server: Running) -> str:
    """The cursor of this moment."""
    call: Any = server.jobs.WatchJobs(pb.WatchJobsRequest(), metadata=metadata_of(""))
    cursor: str = (await call.read()).cursor
    call.cancel()
    return cursor


class _Party:
    """A watcher, and a job of its own that is the last of what it is told of."""

    def __init__(self, world: World, watch: Watch, start: str) -> None:
        self._world = world
        self._watch = watch
        self._last_id = new_id()
        job_ids = (*(world.job_ids[place] for place in watch.places), self._last_id) if watch.places else ()
        batch_id = "" if watch.batch is None else world.batch_ids[watch.batch]
        self._asked = replace(watch.asked, job_ids=job_ids, batch_id=batch_id)
        self._sight = SIGHTS[watch.caller]
        self._metadata = metadata_of(watch.caller)
        self._watcher = CutWatcher(
            world.server.jobs,
            self._asked,
            watch.legs,
            cursor=start if watch.from_start else "",
            snapshot=not watch.from_start,
            metadata=self._metadata,
        )
        if watch.from_start:
            self._watcher.first_number = number_of(start)

    async def watch(self) -> None:
        await self._watcher.run(self._is_last)

    def _is_last(self, told: Told) -> bool:
        return told.job_id == self._last_id and told.event_type is EventType.DELETED

    async def end(self) -> None:
        """Submit and delete a job that it is told of, whatever it asks for."""
        asked = self._asked
        owner = SUBJECTS[0] if asked.batch_id else asked.owner or self._watch.caller or SUBJECTS[0]
        submission = self._world.submission(
            0,
            job_id=self._last_id,
            namespace="" if asked.namespace == "-" else asked.namespace,
            job_type=(asked.job_types or JOB_TYPES)[0],
            labels=dict(asked.labels),
            batch_id=asked.batch_id,
        )
        if not self._watch.from_start:
            # Whoever begins only now must not begin after its own end.
            await eventually_async(lambda: self._watcher.cursor, within=END_SECONDS, what="the watch has begun")
        await self._world.submit(submission, owner)
        await self._world.delete(self._last_id)

    def judge(self, log: Sequence[Entry]) -> None:
        """It was told exactly what the log has for it, up to its own end."""
        last = next(n for n, told in log if told.job_id == self._last_id and told.event_type is EventType.DELETED)
        upto = [entry for entry in log if entry.number <= last]
        wanted = expected(upto, self._asked, self._sight, after=self._watcher.first_number)
        same(self._watcher.told, wanted, of=self._watch)
        # Who went on by pages, and heard of the end there before its snapshot was whole, has no model.
        whole = not self._watch.from_start and not self._watcher.snapshot
        if whole and not self._asked.event_types:
            check_model(self._watcher, upto, self._sight)

    async def judge_pages(self, stored: Stored, start: str, page_size: int) -> None:
        """ListJobEvents has the same."""
        told = await all_pages(
            self._world.server.jobs, self._asked, cursor=start, page_size=page_size, metadata=self._metadata
        )
        wanted = expected(read_log(stored, after=number_of(start)), self._asked, self._sight)
        # The log may have grown since.
        same(told, wanted[: len(told)], of=self._watch)
        assert any(self._is_last(one) for one in told)
