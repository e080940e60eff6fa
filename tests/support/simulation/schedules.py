"""One schedule: a service, its workers and clients, and what befalls them, all of it drawn from one seed."""

from __future__ import annotations

import logging
import random
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from typing import TypeVar

import structlog

from jobhall.states import JobState, UniquePolicy
from jobhall.worker.held import HeldTask
from jobhall_server.domain.moves import JobUpdate
from jobhall_server.domain.rules import Backoff, RetryPolicy
from jobhall_server.hall.hall import HallSettings
from tests.support.memory.group import Move
from tests.support.memory.tables import Row, Tables
from tests.support.simulation.clients import SimulatedClient
from tests.support.simulation.conditions import PromiseBrokenError
from tests.support.simulation.managers import SimulatedManager
from tests.support.simulation.network import SimulatedStream, Weather
from tests.support.simulation.referee import Referee
from tests.support.simulation.servers import SimulatedDisk, SimulatedServer
from tests.support.simulation.timeline import Process, Timeline
from tests.support.simulation.troubles import PROFILES, kill_server, kinds_of
from tests.support.simulation.unary_workers import SimulatedUnaryWorker
from tests.support.simulation.watchers import SimulatedWatcher, small_bounds, watchers_of_all_kinds
from tests.support.simulation.workers import Execution, Plan, SimulatedWorker
from tests.support.stores import START_US

T = TypeVar("T")

RETRIABLE = (JobState.FAILED, JobState.CANCELLED)

TROUBLE_SECONDS = 30.0
"""Trouble begins within this; each kind ends by itself."""
BOUND_SECONDS = 300.0
"""So long after the last trouble every job must be terminal."""
CALM_SECONDS = 5.0
"""So long after the last job ended it is looked on: what comes late comes now."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a schedule went. `broken` says which promise was, with the whole story in `story`."""

    seed: int
    broken: str | None
    story: Sequence[str]
    jobs: int
    executions: int
    completions: int
    troubles: int
    virtual_seconds: float


def run_schedule(seed: int) -> Outcome:
    """Play it to its end, or to the first broken promise."""
    random.seed(seed)
    with _quiet(), small_bounds():
        return Schedule(seed).play()


class Schedule:
    """Everything of one run. Each party has its own chance, so that what one draws does not move the others."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.timeline = Timeline()
        self.tables = Tables()
        self.story: list[tuple[float, str]] = []
        self.referee = Referee(
            self.tables,
            now=lambda: self.timeline.now,
            troubled_until=lambda worker: self._trouble.get(worker, 0.0),
            away_until=lambda: self._away_until,
        )
        self.chance = self._chance_of("schedule")
        self._settings = HallSettings()
        self.disk = SimulatedDisk(self.timeline, self._chance_of("disk"))
        self._servers: list[SimulatedServer] = []
        self.workers: list[SimulatedWorker] = []
        self._watchers: list[SimulatedWatcher] = []
        self._processes: list[Process] = []
        self._trouble: dict[str, float] = {}
        """Until when each worker, by its name, has trouble of its own."""
        self._executions = 0
        self._plans = self._chance_of("plans")
        self._troubles = 0
        self._calm_at = self._away_until = 0.0
        self._fatal = ""
        """The kind of group that kills the server which commits it."""
        self._failure: BaseException | None = None
        self._stage = self._process("stage")
        self.client = SimulatedClient(self, self._process("client"), self._chance_of("client"))
        self.manager = SimulatedManager(self.client, self._chance_of("manager"))

    def play(self) -> Outcome:
        """Everything that happens, from the first server's start to the referee's judgement."""
        broken: str | None = None
        try:
            self._set_up()
            self._run_to_end()
            self.referee.judge_end()
            for watcher in self._watchers:
                watcher.judge_end(self.tables)
        except PromiseBrokenError as error:
            broken = str(error)
        self._tear_down()
        return Outcome(
            seed=self.seed,
            broken=broken,
            story=[f"{at - 1000:9.4f}  {what}" for at, what in self.story],
            jobs=len(self.tables.jobs),
            executions=self._executions,
            completions=self.referee.completions,
            troubles=self._troubles,
            virtual_seconds=self.timeline.now - 1000,
        )

    # --- the parties' world ---

    def server(self) -> SimulatedServer | None:
        return self._servers[-1] if self._servers and not self._servers[-1].gone else None

    def dial(self, worker: SimulatedWorker) -> SimulatedStream | None:
        server = self.server()
        if server is None:
            return None
        stream = SimulatedStream(worker, server.process, worker.weather)
        stream.open(server.accept)
        return stream

    def began(self, worker: SimulatedWorker, task: HeldTask) -> Execution:
        told = task.assignment
        return self.execution_of(worker.name, job_id=told.job_id, fence=told.fence, attempt=told.attempt)

    def execution_of(self, worker: str, *, job_id: str, fence: int, attempt: int) -> Execution:
        self._executions += 1
        execution = Execution(self._executions, job_id, fence, attempt, worker, self.timeline.now)
        self.tell(f"{worker} begins {_short(job_id)} fence {fence} attempt {attempt}")
        self._judged(self.referee.began, execution)
        return execution

    def plan(self, execution: Execution) -> Plan:
        chance = self._plans
        ends = ("complete",) * 8 + ("fail", "fail", "fail for good", "release")
        return Plan(
            seconds=chance.choice((0.001, 0.1, 1.0, 4.0, 12.0, 25.0)) * chance.uniform(0.5, 1.5),
            end=chance.choice(ends),
            obeys=chance.random() < 0.8,
            says=chance.choice((0, 0, 0, 3)),
        )

    def ended(self, execution: Execution, what: str) -> None:
        self.tell(f"{execution.worker} is done with {_short(execution.job_id)} fence {execution.fence}: {what}")
        self.referee.ended(execution, what)

    def accepted(self, token: bytes) -> None:
        self.referee.accepted(token)

    def answered(self, token: bytes, *, taken: bool) -> None:
        self._judged(self.referee.acked if taken else self.referee.refused, token)

    def told_lost(self, token: bytes) -> None:
        self._judged(self.referee.told_lost, token)

    def superseded(self, worker: SimulatedWorker) -> None:
        self._judged(self.referee.superseded, worker.name)

    def submitted(self, job_id: str) -> None:
        self._judged(self.referee.submitted, job_id)

    def misled(self, error: PromiseBrokenError) -> None:
        self._failure = self._failure or error

    def committed(self, moves: Sequence[Move]) -> None:
        for move in moves:
            row = move.after or move.before
            assert row is not None
            self.tell(
                f"  {move.name} {_short(row['job_id'])} fence {row['fence']} attempt {row['attempt']} "
                f"session {row['session_key']} -> {row['state'].name}"
            )
        self._judged(self.referee.committed, moves)
        if self._fatal and self._fatal in kinds_of(self.tables, moves):
            self._fatal = ""
            kill_server(self)

    def failed(self, error: BaseException) -> None:
        self.tell("".join(["a server failed: ", *traceback.format_exception(error)]))
        self._failure = self._failure or error

    def tell(self, what: str) -> None:
        self.story.append((self.timeline.now, what))

    def _judged(self, judge: Callable[[T], None], what: T) -> None:
        """A broken promise ends the schedule, wherever it is found."""
        try:
            judge(what)
        except PromiseBrokenError as error:
            self._failure = self._failure or error

    # --- the course of it ---

    def _set_up(self) -> None:
        chance = self.chance
        self.start_server()
        for number in range(chance.randint(2, 4)):
            self.start_worker(f"w{number}", chance.randint(1, 4))
        if chance.random() < 0.3:
            SimulatedUnaryWorker(self, self._process("unary"), self._chance_of("unary"), name="unary")
        jobs = chance.randint(6, 24)
        for number in range(jobs):
            self.later(chance.uniform(0.2, 15), self._submit, number)
        if chance.random() < 0.4:
            for batch in range(chance.randint(1, 2)):
                members = range(100 * batch + 100, 100 * batch + 100 + chance.randint(0, 6))
                self.later(chance.uniform(0.2, 15), self.manager.create_batch, members)
            for _ in range(chance.choice((0, 1, 4))):
                self.later(chance.uniform(1, TROUBLE_SECONDS), self._manage)
        for _ in range(chance.choice((0, 0, 1, 3))):
            self.later(chance.uniform(1, TROUBLE_SECONDS), self._meddle)
        self._watchers = watchers_of_all_kinds(self, self._process, self._chance_of)
        kinds = chance.choice(PROFILES)
        self._troubles = chance.randint(1, 5)
        for _ in range(self._troubles):
            self.later(chance.uniform(0.5, TROUBLE_SECONDS), chance.choice(kinds), self)

    def _run_to_end(self) -> None:
        last = self.timeline.now + TROUBLE_SECONDS
        self._run(last)
        while self._calm_at > last:
            last = self._calm_at
            self._run(last)
        self.later(0.0, self._restore)
        if self._run(last + BOUND_SECONDS, done=self._all_is_done):
            self._run(self.timeline.now + CALM_SECONDS)

    def _all_is_done(self) -> bool:
        return not (self.client.calls.waiting or self.referee.unfinished() or self.referee.unsettled())

    def _run(self, until: float, *, done: Callable[[], bool] = lambda: False) -> bool:
        found = self.timeline.run(until, done=lambda: self._failure is not None or done())
        if self._failure is not None:
            if isinstance(self._failure, PromiseBrokenError):
                raise self._failure
            raise PromiseBrokenError(f"a server failed: {self._failure!r}") from self._failure
        for process in self._processes:
            if process.failures:
                raise PromiseBrokenError(f"{process.name}: {process.failures[0]!r}") from process.failures[0]
        return found

    def _restore(self) -> None:
        """After the trouble: a server serves, and there are workers."""
        self._fatal = ""
        if self.server() is None:
            self.start_server()
        if not any(worker.living and not worker.machine.leaving for worker in self.workers):
            self.start_worker("last", 4)
        self.manager.let_go()

    def _tear_down(self) -> None:
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.unwind()

    def _submit(self, number: int) -> None:
        chance = self._plans
        policy = RetryPolicy(backoff=chance.choice(list(Backoff)), max_delay_us=4_000_000)
        run_us, silence_us = chance.choice(((None, None), (None, None), (5_000_000, None), (None, 3_000_000)))
        now = self.server_now()
        after, within = chance.choice(((None, None), (None, None), (None, None), (5, None), (None, 8), (3, 12)))
        unique = chance.choice((None, None, None, "a"))
        self.client.submit(
            number,
            retry=policy,
            run_timeout_us=run_us,
            progress_timeout_us=silence_us,
            max_attempts=chance.choice((1, 2, 4, 10)),
            schedule_at=None if after is None else now + after * 1_000_000,
            start_deadline=None if within is None else now + within * 1_000_000,
            unique_key=unique or "",
            unique_policy=chance.choice([policy for policy in UniquePolicy if policy]),
            priority=chance.choice((None, None, 5)),
        )

    def _meddle(self) -> None:
        """Somebody cancels a job, has one run again, or deletes one."""
        chance = self._plans
        rows: list[Row] = list(self.tables.jobs.values())
        if rows:
            row = chance.choice(rows)
            what = chance.choice(("cancel", "cancel", "retry", "delete", "update"))
            if what == "retry":
                row = chance.choice([one for one in rows if one["state"] in RETRIABLE] or rows)
            self.tell(f"a client asks to {what} {_short(row['job_id'])}, which is {row['state'].name}")
            if what == "cancel":
                self.client.cancel(row["job_id"], grace_seconds=chance.choice((1.0, 10.0)))
            elif what == "retry":
                self.client.retry(row["job_id"])
            elif what == "update":
                self._update(row["job_id"])
            else:
                self.client.delete(row["job_id"])

    def _manage(self) -> None:
        self.tell(f"a client asks to {self.manager.meddle()}")

    def _update(self, job_id: str) -> None:
        chance = self._plans
        at = self.server_now() + chance.choice((-1, 2, 10)) * 1_000_000
        columns = chance.choice(
            ({"priority"}, {"schedule_at"}, {"schedule_at", "labels"}, {"labels"}, {"start_deadline"})
        )
        labels = chance.choice(('{"team": "red"}', '{"team": "red"}', '{"team": "blue"}', None))
        update = JobUpdate(frozenset(columns), chance.randint(-5, 5), at, None, labels)
        self.client.update(job_id, update)

    # --- the parties ---

    def start_server(self) -> None:
        process = self._process(f"s{len(self._servers)}")
        self.tell(f"{process.name} starts")
        self.away(self.timeline.now)
        self._servers.append(
            SimulatedServer(process, self.tables, self.disk, self, self._settings, self._chance_of(process.name))
        )

    def start_worker(self, name: str, concurrency: int) -> None:
        process = self._process(name)
        self.tell(f"{name} starts, {concurrency} at once")
        weather = Weather(self._chance_of(f"network of {name}"))
        worker = SimulatedWorker(self, process, weather, self._chance_of(name), name=name, concurrency=concurrency)
        self.workers.append(worker)

    def _process(self, name: str) -> Process:
        process = Process(self.timeline, name)  # type: ignore[abstract]  # what nobody asks of it, it has not
        self._processes.append(process)
        return process

    def _chance_of(self, party: str) -> Random:
        return Random(f"{self.seed}/{party}")

    def later(self, seconds: float, what: Callable[..., None], *args: object) -> None:
        self._stage.call_later(seconds, what, *args)

    def trouble(self, worker: SimulatedWorker, until: float) -> None:
        """What befalls the worker until then is no fault of the server's."""
        self._trouble[worker.name] = max(until, self._trouble.get(worker.name, 0.0))
        if worker.living:
            self.lasts_until(until)

    def server_now(self) -> int:
        """The wall clock of servers and clients, microseconds UTC."""
        return START_US + round(self.timeline.now * 1_000_000)

    def kill_at(self, what: str) -> None:
        """The next group with it is the last one of its server."""
        self._fatal = what

    def lasts_until(self, at: float) -> None:
        """There is trouble until then: only after it the bound on the jobs begins."""
        self._calm_at = max(self._calm_at, at)

    def away(self, until: float) -> None:
        """Until then nobody serves, or nothing can be written."""
        self._away_until = max(self._away_until, until)
        self.lasts_until(until)


def _short(job_id: str) -> str:
    return job_id[-3:]


@contextmanager
def _quiet() -> Iterator[None]:
    """Nobody reads what thousands of schedules log."""
    configured, before = structlog.is_configured(), structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    disabled, logging.root.manager.disable = logging.root.manager.disable, logging.CRITICAL
    try:
        yield
    finally:
        structlog.reset_defaults()
        if configured:
            structlog.configure(**before)
        logging.root.manager.disable = disabled
