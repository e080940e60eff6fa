"""What may befall a schedule: servers, workers and networks that die, stop, stall, and come back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tests.support.memory.group import Move
from tests.support.memory.tables import Tables
from tests.support.simulation.completions import completed_by
from tests.support.simulation.network import Told
from tests.support.simulation.workers import SimulatedWorker

if TYPE_CHECKING:
    from tests.support.simulation.schedules import Schedule

DRAINED_SECONDS = 20.0
SWEEP, COMPLETION = "step for a batch", "completion job"
"""What is done for batches behind the answers."""
UNNOTICED_SECONDS = 16.0
"""So long a worker may take to see that its stream is dead: three beats, and the time between two looks."""


def kill_server(schedule: Schedule) -> None:
    """SIGKILL; what it had not committed never was. Another one comes after a while, maybe a long one."""
    server = schedule.server()
    if server is not None:
        schedule.tell(f"{server.process.name} is killed")
        server.process.kill()
        seconds = schedule.chance.choice((0.3, 3.0, 15.0, 60.0))
        # A machine that loses its power says nothing; but then it is not back at once.
        unnoticed = seconds >= UNNOTICED_SECONDS and schedule.chance.random() < 0.5
        for stream in [*server.streams]:
            stream.break_off(Told.NOBODY if unnoticed else Told.BOTH)
        _come_back(schedule, seconds)


def kill_server_at_a_commit(schedule: Schedule) -> None:
    """The same at the worst of moments: the next such group is durable, and nobody has been told yet."""
    what = schedule.chance.choice(("submit", "accept", "complete", "cancel", "retry", "purge", SWEEP, COMPLETION))
    schedule.tell(f"the next server to commit a {what} will be killed")
    schedule.kill_at(what)


def kinds_of(tables: Tables, moves: Sequence[Move]) -> set[str]:
    """What a group was about that made those moves."""
    kinds = {move.name for move in moves}
    if any(batch.sweep for batch in tables.batches.values()):
        kinds.add(SWEEP)
    if any(move.before is None and move.after and completed_by(tables, move.after) for move in moves):
        kinds.add(COMPLETION)
    return kinds


def stop_server(schedule: Schedule) -> None:
    """SIGTERM: it tells its workers to move and goes."""
    server = schedule.server()
    if server is not None:
        schedule.tell(f"{server.process.name} is told to stop")
        server.stop()
        _come_back(schedule, schedule.chance.choice((1.0, 5.0, 30.0)))


def pause_server(schedule: Schedule) -> None:
    """SIGSTOP for a while, maybe long enough that its workers have given it up."""
    server = schedule.server()
    if server is not None:
        seconds = schedule.chance.choice((2.0, 8.0, 20.0, 60.0))
        schedule.tell(f"{server.process.name} stands still for {seconds:g} s")
        server.process.pause()
        schedule.later(seconds, server.process.resume)
        schedule.away(schedule.timeline.now + seconds)


def stall_disk(schedule: Schedule) -> None:
    """For a while no group is taken."""
    seconds = schedule.chance.choice((0.5, 5.0, 20.0))
    schedule.tell(f"the disk is full for {seconds:g} s")
    schedule.disk.busy_until = schedule.timeline.now + seconds
    schedule.away(schedule.disk.busy_until)


def kill_worker(schedule: Schedule) -> None:
    """SIGKILL, or the power of its machine; another worker comes in its place."""
    worker = _any_worker(schedule)
    if worker is not None:
        told = Told.NOBODY if schedule.chance.random() < 0.3 else Told.BOTH
        schedule.tell(f"{worker.name} is killed ({told.value})")
        worker.process.kill()
        schedule.referee.died(worker.name)
        schedule.trouble(worker, float("inf"))
        if worker.current is not None:
            worker.current.break_off(told)
        _replace(schedule, worker)


def pause_worker(schedule: Schedule) -> None:
    """SIGSTOP: it comes back and does not know that it was away."""
    worker = _any_worker(schedule)
    if worker is not None:
        seconds = schedule.chance.choice((3.0, 14.0, 25.0, 50.0))
        schedule.tell(f"{worker.name} stands still for {seconds:g} s")
        worker.process.pause()
        schedule.later(seconds, worker.process.resume)
        schedule.trouble(worker, schedule.timeline.now + seconds)


def stop_worker(schedule: Schedule) -> None:
    """SIGTERM: it gives back what it has not begun, ends the rest and leaves."""
    worker = _any_worker(schedule)
    if worker is not None and not worker.machine.leaving:
        worker.process.call_soon(worker.leave)
        _replace(schedule, worker)


def drain_worker(schedule: Schedule) -> None:
    """An operator lets it finish what it holds, within a time that may be too short."""
    worker = _any_worker(schedule)
    if worker is not None and not worker.machine.leaving:
        seconds = schedule.chance.choice((2.0, 30.0))
        schedule.tell(f"an operator drains {worker.name} within {seconds:g} s")
        schedule.client.drain(worker.machine.session_id, timeout_seconds=seconds)
        # The call may come late, and what the worker cannot end by then is taken from it.
        schedule.trouble(worker, schedule.timeline.now + seconds + DRAINED_SECONDS)
        _replace(schedule, worker)


def break_stream(schedule: Schedule) -> None:
    """Its connection breaks; both sides are told, or the worker alone, or nobody."""
    worker = _any_worker(schedule)
    if worker is not None and worker.current is not None:
        told = schedule.chance.choice(list(Told))
        schedule.tell(f"the stream of {worker.name} breaks ({told.value})")
        worker.current.break_off(told)
        schedule.trouble(worker, schedule.timeline.now + (UNNOTICED_SECONDS if told is Told.NOBODY else 0.0))


def silence(schedule: Schedule) -> None:
    """A black hole of one direction or of both: what is sent comes late, when it is over."""
    worker = _any_worker(schedule)
    if worker is not None:
        chance = schedule.chance
        until = schedule.timeline.now + chance.choice((2.0, 9.0, 22.0, 40.0))
        way = chance.choice(("up", "down", "both"))
        schedule.tell(f"the network of {worker.name} is silent ({way}) until {until - 1000:.1f}")
        if way != "down":
            worker.weather.up_silent_until = until
        if way != "up":
            worker.weather.down_silent_until = until
        schedule.trouble(worker, until)


def hold_back(schedule: Schedule) -> None:
    """Its connection breaks, and the Hello of the next one comes long after that of the one after."""
    worker = _any_worker(schedule)
    if worker is not None and worker.current is not None:
        seconds = schedule.chance.choice((3.0, 12.0, 20.0, 35.0))
        schedule.tell(f"the stream of {worker.name} breaks, and what it says on the next comes after {seconds:g} s")
        worker.weather.next_held_seconds = seconds
        worker.current.break_off(Told.BOTH)
        schedule.trouble(worker, schedule.timeline.now + min(seconds, UNNOTICED_SECONDS))


def slow_down(schedule: Schedule) -> None:
    """Its network is slow for the rest of the time; not so slow that beats are missed."""
    worker = _any_worker(schedule)
    if worker is not None:
        worker.weather.delay_seconds = schedule.chance.choice((0.05, 0.4))
        schedule.tell(f"the network of {worker.name} is slow: {worker.weather.delay_seconds:g} s")


Trouble = Callable[["Schedule"], None]

SERVERS: tuple[Trouble, ...] = (kill_server, kill_server_at_a_commit, stop_server, pause_server, stall_disk)
NETWORKS: tuple[Trouble, ...] = (break_stream, break_stream, hold_back, silence, silence, slow_down)
WORKERS: tuple[Trouble, ...] = (kill_worker, pause_worker, stop_worker, drain_worker)
PROFILES: tuple[tuple[Trouble, ...], ...] = (
    SERVERS,
    NETWORKS,
    WORKERS,
    SERVERS + NETWORKS,
    SERVERS + NETWORKS + WORKERS,
)
"""A schedule has its troubles from one of these: with servers alone, nothing at all may run twice."""


def _any_worker(schedule: Schedule) -> SimulatedWorker | None:
    living = [worker for worker in schedule.workers if worker.living]
    return schedule.chance.choice(living) if living else None


def _replace(schedule: Schedule, worker: SimulatedWorker) -> None:
    name = f"{worker.name.partition('.')[0]}.{len(schedule.workers)}"
    seconds = schedule.chance.choice((0.5, 5.0, 20.0))
    schedule.later(seconds, schedule.start_worker, name, worker.concurrency)
    schedule.lasts_until(schedule.timeline.now + seconds)


def _come_back(schedule: Schedule, seconds: float) -> None:
    """Another server, as soon as the one before has really gone."""
    schedule.away(schedule.timeline.now + seconds)

    def start() -> None:
        if schedule.server() is None:
            schedule.start_server()
        elif schedule.server() is before:
            schedule.later(0.5, start)

    before = schedule.server()
    schedule.later(seconds, start)
