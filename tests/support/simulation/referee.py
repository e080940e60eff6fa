"""The promises of the design as a referee: looks on at every commit, execution and ack, and judges the end."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType

from jobhall.limits import SESSION_TTL
from jobhall.states import TERMINAL_STATES, EventType, JobState
from jobhall_server.domain.batch import BatchRecord
from jobhall_server.domain.job import Lease, LeaseState
from jobhall_server.domain.moves import MOVES
from jobhall_server.domain.session import SessionState
from jobhall_server.hall.views import EventRow, PayloadKind
from tests.support.memory.group import Move
from tests.support.memory.tables import Row, Tables
from tests.support.simulation.conditions import Conditions, PromiseBrokenError
from tests.support.simulation.workers import Execution
from tests.support.stores import START_US

RESCUE_SECONDS = 2.0
"""So long after a session's time to live its jobs are with others, outages aside."""
TTL_US = int(SESSION_TTL.total_seconds() * 1_000_000)
EXCUSED_SECONDS = 12.0
"""So long after its trouble a worker may still be found lost: the longest back-off, and a Hello."""

_E = EventType
_ENDS = {_E.COMPLETED, _E.FAILED, _E.CANCELLED}
_NEW = {_E.CLAIMED, _E.CANCELLED, _E.DELETED, _E.SCHEDULED, _E.READY, _E.FAILED}
_WAITS = _NEW | {_E.RUNNING, _E.COMPLETED}
_AFTER = MappingProxyType(
    {
        _E.SUBMITTED: _NEW,
        _E.READY: _WAITS - {_E.READY},
        _E.SCHEDULED: _WAITS - {_E.SCHEDULED},
        _E.RETRIED: _NEW - {_E.READY},
        _E.CLAIMED: {_E.RUNNING, _E.READY, _E.SCHEDULED, _E.CANCELLED, _E.FAILED},
        _E.RUNNING: {_E.COMPLETED, _E.FAILED, _E.READY, _E.SCHEDULED, _E.CANCELLING},
        _E.CANCELLING: _ENDS,
        _E.COMPLETED: {_E.DELETED},
        _E.FAILED: {_E.RETRIED, _E.DELETED},
        _E.CANCELLED: {_E.RETRIED, _E.DELETED},
        _E.DELETED: set(),
    }
)
"""What may follow what in the history of one job, updates aside; DESIGN section 3, told again by hand."""


@dataclass(slots=True)
class Run:
    """An execution as the referee follows it."""

    execution: Execution
    over: bool = False
    how: str = ""
    forfeited: bool = False
    """The server has moved its job on for a reason that is not the server's own: what it does is nobody's."""


class Referee:
    """`troubled_until` tells until when a worker had trouble that was not the server's: excuses for its losses.
    `away_until` tells when the service was last away.
    """

    def __init__(
        self,
        tables: Tables,
        *,
        now: Callable[[], float],
        troubled_until: Callable[[str], float],
        away_until: Callable[[], float],
    ) -> None:
        self._tables = tables
        self._now = now
        self._troubled_until = troubled_until
        self._away_until = away_until
        self._runs: dict[tuple[str, int], Run] = {}
        self._by_job: dict[str, list[Run]] = defaultdict(list)
        self._accepted: set[tuple[int, int]] = set()
        """Job key and fence of what some worker began, or said that it takes."""
        self._released: set[tuple[int, int]] = set()
        """Of those, what was given back unfinished: it does not count."""
        self._submitted: set[str] = set()
        self._deleted: set[str] = set()
        self._conditions = Conditions(tables, now)
        self.completions = 0

    # --- while it goes on ---

    def began(self, execution: Execution) -> None:
        place = (execution.job_id, execution.fence)
        if place in self._runs:
            self._broken(f"job {execution.job_id} was begun twice under fence {execution.fence}")
        run = self._runs[place] = Run(execution)
        self._by_job[execution.job_id].append(run)

    def accepted(self, token: bytes) -> None:
        """A worker has said that it takes the task, or that it took it."""
        lease = Lease.parse(token)
        assert lease is not None
        self._accepted.add((lease.job_key, lease.fence))

    def ended(self, execution: Execution, how: str) -> None:
        run = self._runs[execution.job_id, execution.fence]
        run.over, run.how = True, how

    def died(self, worker: str) -> None:
        """The process is gone, and all that it ran."""
        for run in self._runs.values():
            if run.execution.worker == worker and not run.over:
                run.over, run.how = True, "died"

    def submitted(self, job_id: str) -> None:
        self._submitted.add(job_id)
        if job_id not in self._tables.keys_of_ids and job_id not in self._deleted:
            self._broken(f"the submit of {job_id} was acknowledged, and there is no such job")

    def acked(self, token: bytes) -> None:
        """A worker was told that its completion is taken."""
        lease = Lease.parse(token)
        row = None if lease is None else self._tables.jobs.get(lease.job_key)
        if row is None or lease is None:
            return  # Deleted since; that it was there is in its history.
        if row["state"] is not JobState.COMPLETED or row["outcome_fence"] != lease.fence:
            self._broken(f"the completion of {row['job_id']} was acked, but the job is {row['state'].name}")

    def refused(self, token: bytes) -> None:
        """A worker was told that its completion is not taken."""
        lease = Lease.parse(token)
        row = None if lease is None else self._tables.jobs.get(lease.job_key)
        if row is not None and lease is not None and row["outcome_fence"] == lease.fence:
            self._broken(f"the completion of {row['job_id']} is on record and was refused")

    def told_lost(self, token: bytes) -> None:
        """A worker came back with a task that it had begun, and is told that it is not its own."""
        lease = Lease.parse(token)
        row = None if lease is None else self._tables.jobs.get(lease.job_key)
        same = row is not None and lease is not None and row["fence"] == lease.fence
        if row is not None and same and row["lease"] in (LeaseState.LOST_STARTED, LeaseState.LOST_UNSTARTED):
            self._broken(f"{row['job_id']} was not given back to who began it, though nobody else has claimed it")

    def superseded(self, worker: str) -> None:
        """No two workers here share a session."""
        self._broken(f"the newest stream of {worker} was thrown out by an older one")

    def committed(self, moves: Sequence[Move]) -> None:
        self._conditions.committed(moves)
        for move in moves:
            if move.after is None:
                assert move.before is not None
                self._deleted.add(move.before["job_id"])
            elif move.before is not None:
                self._judge(move.name, move.before, move.after)

    def _judge(self, name: str, before: Row, after: Row) -> None:
        job_id = before["job_id"]
        if name != "note" and after["state"] is not before["state"]:
            legal = MOVES[name].get(before["state"], frozenset())
            if after["state"] not in legal:
                self._broken(f"{name} took {job_id} from {before['state'].name} to {after['state'].name}")
        if name == "claim":
            self._judge_claim(job_id, before, after)
        elif after["fence"] != before["fence"]:
            self._broken(f"{name} of {job_id} changed its fence")
        run = self._runs.get((job_id, before["fence"]))
        lease = (before["key"], before["fence"])
        if after["attempt"] > before["attempt"] and lease not in self._accepted and run is None:
            self._broken(f"{name} of {job_id} counted an attempt under fence {before['fence']}, which nobody accepted")
        if name == "lose":
            self._judge_loss(job_id, before, run)
        if name == "release" and before["state"] is JobState.RUNNING:
            self._released.add(lease)
        if run is not None and (name in ("lose", "time out", "stop") or after["state"] in TERMINAL_STATES):
            run.forfeited = True

    def _judge_claim(self, job_id: str, before: Row, after: Row) -> None:
        if after["fence"] != before["fence"] + 1:
            self._broken(f"a claim of {job_id} went from fence {before['fence']} to {after['fence']}")
        for run in self._by_job[job_id]:
            if not (run.over or run.forfeited or self._excused(run.execution.worker)):
                self._broken(f"{job_id} was claimed again while {run.execution.worker} runs it")

    def _judge_loss(self, job_id: str, before: Row, run: Run | None) -> None:
        session = self._tables.sessions[before["session_key"]]
        worker = session.about.worker_name
        if not self._excused(worker) and run is not None and not run.over:
            self._broken(f"{job_id} was taken from {worker}, which lives and runs it, by no fault of its own")
        if session.record.state is SessionState.LOST and session.record.detached_at is not None:
            detached_at = (session.record.detached_at - START_US) / 1e6
            late = self._now() - max(detached_at, self._away_until()) - (session.record.ttl_us or TTL_US) / 1e6
            if late > RESCUE_SECONDS:
                self._broken(f"{job_id} was rescued {late:.1f} s after its session's time to live")

    def _excused(self, worker: str) -> bool:
        return self._troubled_until(worker) + EXCUSED_SECONDS >= self._now()

    # --- at the end ---

    def unfinished(self) -> list[Row]:
        """The jobs that are not terminal."""
        return [row for row in self._tables.jobs.values() if row["state"] not in TERMINAL_STATES]

    def unsettled(self) -> list[BatchRecord]:
        """The batches for which the server has something to do."""
        return [one for one in self._tables.batches.values() if one.sweep or one.ended_at is None or one.completion_due]

    def judge_end(self) -> None:
        """After the last word is said."""
        for row in self.unfinished():
            self._broken(
                f"{row['job_id']} is {row['state'].name} (due {row['due_at']}), long after all trouble was over"
            )
        for job_id in self._submitted - self._deleted:
            if job_id not in self._tables.keys_of_ids:
                self._broken(f"{job_id} is gone")
        self._conditions.judge_end()
        self._judge_log()
        for row in self._tables.jobs.values():
            self._judge_job(row)
        for batch in self._tables.batches.values():
            self._judge_batch(batch)

    def _judge_log(self) -> None:
        if list(self._tables.events) != list(range(1, self._tables.counters.get("event", 0) + 1)):
            self._broken("the numbers of the event log have a gap")
        histories: dict[int, list[EventRow]] = defaultdict(list)
        for event in self._tables.events.values():
            histories[event.job_key].append(event)
        for history in histories.values():
            if [event.revision for event in history] != list(range(1, len(history) + 1)):
                self._broken(f"the revisions of {history[0].job_id} have a gap")
            for event, following in pairwise(event for event in history if event.event_type is not _E.UPDATED):
                if following.event_type not in _AFTER[event.event_type]:
                    self._broken(f"{event.job_id}: {following.event_type.name} came after {event.event_type.name}")

    def _judge_job(self, row: Row) -> None:
        job_id = row["job_id"]
        begun = {(row["key"], run.execution.fence) for run in self._by_job[job_id]}
        begun |= {lease for lease in self._accepted if lease[0] == row["key"]}
        if row["attempt"] > len(begun - self._released):
            told = len(begun - self._released)
            self._broken(f"{job_id} has {row['attempt']} attempts; accepted and not given back were {told}")
        if row["state"] is JobState.COMPLETED:
            self.completions += 1
            said = json.loads(str(self._tables.payloads[PayloadKind.RESULT][row["key"]].content))
            run = self._runs.get((job_id, said["fence"]))
            if said["fence"] != row["outcome_fence"] or run is None or run.execution.number != said["execution"]:
                self._broken(
                    f"{job_id} has the result of fence {said['fence']}, its outcome is of {row['outcome_fence']}"
                )
            elif run.how != "complete":
                self._broken(f"{job_id} has the result of an execution that ended as {run.how!r}")

    def _judge_batch(self, batch: BatchRecord) -> None:
        """All is over: it is closed, its counts are those of its jobs, and what it was to lead to is there."""
        if batch in self.unsettled():
            self._broken(f"batch {batch.batch_id} is {batch.state.name} (sweep {batch.sweep.name}) after its last job")
        members = [row for row in self._tables.jobs.values() if row["batch_key"] == batch.key]
        if len(members) > batch.counts.total:
            self._broken(f"batch {batch.batch_id} counts {batch.counts.total} jobs and has {len(members)}")
        if any(row["held_back"] and row["state"] is not JobState.COMPLETED for row in members):
            self._broken(f"jobs of batch {batch.batch_id} are held back, and it is active")

    def _broken(self, what: str) -> None:
        raise PromiseBrokenError(f"{what} (at {self._now():.3f})")
