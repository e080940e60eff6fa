"""The power fails at random moments under load: what the disk then holds is whole, and all that was acknowledged."""

import asyncio
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.acknowledged import Acknowledging, Said, Verdict, judge
from tests.support.disk_image import Image, images
from tests.support.disk_trace import Kind, Operation, is_complete, operations, traced
from tests.support.processes import START_SECONDS, Processes, Program
from tests.support.stored import Stored
from tests.support.tools import BIN, needed_tool
from tests.support.waiting import eventually, eventually_async

STRACE = needed_tool("strace")
DATABASE = "jobhall.db"
MEMORY_BYTES = 32768
BURST = 150
"""So many jobs at least are submitted, and completed, in one go."""
SECOND = 10**9

Figures = Callable[..., None]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120), pytest.mark.long_timeout(1800)]


@dataclass(frozen=True, slots=True)
class Recording:
    """What servers did to their files, one after the other, and what they said meanwhile."""

    operations: list[Operation]
    said: Said


@dataclass(frozen=True, slots=True)
class Cut:
    at: int
    unsynced_bytes: int
    lost_bytes: int
    verdict: Verdict
    kept: Path | None
    """The database that the cut left, where it was kept."""


async def test_a_power_cut_at_any_moment_takes_nothing_that_was_acknowledged(
    processes: Processes, tmp_path: Path, long: bool, figures: Figures
) -> None:
    """The disk has promised to keep only what was synced. Of the rest it keeps what it likes, in pieces of a sector.

    The log is written from its start again after the first checkpoint, so that a cut may find a checkpoint half done,
    or new frames over old ones; some cuts fall into the making of the database, some into its closing. On the first
    and the last image a real server starts, and goes on.
    """
    seed = random.getrandbits(32)
    recording = await record(processes, rounds=5 if long else 1)

    cuts = cut(recording, tmp_path, count=1000 if long else 60, chance=random.Random(seed))
    figures(**measured(seed, recording, cuts))

    assert [cut.verdict for cut in cuts if cut.verdict.broken or cut.verdict.lost] == []
    for kept in (cuts[0], cuts[-1]):
        await goes_on(processes, kept, recording.said)


@pytest.mark.parametrize("synchronous", ["OFF", "NORMAL"])
async def test_with_fewer_syncs_the_same_cuts_take_what_was_acknowledged(
    processes: Processes, tmp_path: Path, synchronous: str, figures: Figures
) -> None:
    """This shows that the test before can fail. NORMAL loses the newest commits and breaks nothing; OFF does both."""
    seed = random.getrandbits(32)
    recording = await record(processes, synchronous=synchronous)

    cuts = cut(recording, tmp_path, count=20, chance=random.Random(seed))
    figures(**measured(seed, recording, cuts))

    assert [cut for cut in cuts if cut.verdict.lost]
    assert bool([cut for cut in cuts if cut.verdict.broken]) is (synchronous == "OFF")


async def record(processes: Processes, *, rounds: int = 1, synchronous: str = "FULL") -> Recording:
    """Servers under load on one database, each killed but for the last, which is stopped."""
    database = processes.folder / "disk" / DATABASE
    database.parent.mkdir()
    recording = Recording([], [])
    for number in reversed(range(rounds)):
        trace = processes.folder / f"{number}.trace"
        server, address = await asyncio.to_thread(serve_traced, processes, database, trace, synchronous)
        recording.said.extend(await burst(address))
        await asyncio.to_thread(checkpointed, database)
        recording.said.extend(await burst(address))
        await asyncio.to_thread(server.kill if number else server.stop)
        recording.operations.extend(await asyncio.to_thread(read_trace, trace, server.pid, database.parent))
    return recording


def checkpointed(database: Path) -> None:
    """Waits until the idle server has brought its log into the database; every few seconds it writes a sign of life."""
    written_at = database.stat().st_mtime_ns
    eventually(lambda: database.stat().st_mtime_ns > written_at, within=20, what="an idle server checkpoints")


def read_trace(trace: Path, pid: int, folder: Path) -> list[Operation]:
    eventually(lambda: is_complete(trace, pid), within=10, what="the trace is complete")
    found = operations(trace, folder)
    trace.unlink()
    return found


def serve_traced(processes: Processes, database: Path, trace: Path, synchronous: str) -> tuple[Program, str]:
    """A server under strace, and where it listens."""
    address_file = trace.with_suffix(".address")
    serve = [str(BIN / "jobhall-server"), "serve", "--listen", "127.0.0.1:0", "--address-file", str(address_file)]
    server = processes.start(
        "traced-server",
        traced(STRACE, serve, trace),
        database_url=f"sqlite:///{database}",
        synchronous=synchronous,
        log_format="json",
        log_level="warning",
    )

    def address() -> str:
        assert server.status is None, f"the server ended ({server.status})\n{server.output}"
        return address_file.read_text().strip() if address_file.exists() else ""

    return server, eventually(address, within=START_SECONDS, what="the traced server says where it listens")


async def burst(address: str) -> Said:
    """What the server said under load."""
    async with Acknowledging(address) as load:
        await eventually_async(
            lambda: min(load.count("submitted"), load.count("completed")) >= BURST,
            within=30,
            what=f"{BURST} jobs were submitted, and so many completed",
        )
    return load.said


def cut(recording: Recording, folder: Path, *, count: int, chance: random.Random) -> list[Cut]:
    """What so many power cuts leave, in the order of time, judged; the first image and the last stay in the folder."""
    cuts = []
    for number, image in enumerate(images(recording.operations, cuts=moments(recording, count, chance), chance=chance)):
        database = write(image, folder / "image", chance)
        verdict = judge(Stored(database), recording.said, before=image.cut_at)
        shutil.rmtree(database.parent)
        kept = write(image, folder / f"image-{number}", chance) if number in (0, count - 1) else None
        cuts.append(Cut(image.cut_at, image.unsynced_bytes, image.lost_bytes, verdict, kept))
    return cuts


def measured(seed: int, recording: Recording, cuts: list[Cut]) -> dict[str, int]:
    kinds = Counter(operation.kind for operation in recording.operations)
    return {
        "seed": seed,
        "cuts": len(cuts),
        "writes": kinds[Kind.WRITE],
        "syncs": kinds[Kind.SYNC],
        "acknowledgements": len(recording.said),
        "bytes_not_synced": sum(cut.unsynced_bytes for cut in cuts),
        "bytes_thrown_away": sum(cut.lost_bytes for cut in cuts),
        "cuts_that_lost": sum(bool(cut.verdict.lost) for cut in cuts),
        "cuts_that_broke": sum(bool(cut.verdict.broken) for cut in cuts),
    }


def write(image: Image, folder: Path, chance: random.Random) -> Path:
    """The database of the image. What is left of the shared memory is nothing to rely on, and so is random."""
    image.write(folder)
    (folder / f"{DATABASE}-shm").write_bytes(chance.randbytes(MEMORY_BYTES))
    return folder / DATABASE


def moments(recording: Recording, count: int, chance: random.Random) -> list[int]:
    """A half right after something was said, a quarter within syncs, the rest within any call and the file's making."""
    syncs = [operation for operation in recording.operations if operation.kind is Kind.SYNC]
    making = [operation for operation in recording.operations if operation.started_at < recording.said[0][0]]
    calls = chance.choices(making, k=count // 10) + chance.choices(syncs, k=count // 4)
    calls += chance.choices(recording.operations, k=count - count // 2 - len(calls))
    within = [chance.randint(call.started_at, min(call.ended_at, call.started_at + SECOND)) + 1 for call in calls]
    return sorted(within + [at + 1 for at, _ in chance.choices(recording.said, k=count // 2)])


async def goes_on(processes: Processes, cut: Cut, said: Said) -> None:
    """A server starts on what the cut left, knows it all, and takes and completes jobs."""
    assert cut.kept is not None
    server = await asyncio.to_thread(processes.serve, str(cut.kept), log_level="warning")
    more = await burst(server.address)
    await asyncio.to_thread(server.stop)

    before = [(at, fact) for at, fact in said if at < cut.at]
    assert judge(Stored(cut.kept), [*before, *more], before=time.time_ns()) == Verdict("", set())
