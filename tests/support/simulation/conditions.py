"""What the lifecycle promises of single commits: of times, unique keys, batches, and the history of attempts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from types import MappingProxyType

from jobhall.states import HELD_STATES, TERMINAL_STATES, AttemptOutcome, CompletionPolicy, JobState
from jobhall_server.domain.batch import BatchRecord, Sweep
from tests.support.memory.group import Move
from tests.support.memory.tables import Row, Tables
from tests.support.simulation.completions import completed_by
from tests.support.stores import START_US

_S = JobState
_WAITING = (_S.SCHEDULED, _S.PENDING)
_TURN = ("priority_order", "schedule_at", "start_deadline")
_ENDS = MappingProxyType({state: AttemptOutcome[state.name] for state in TERMINAL_STATES})
_LEADS_ON = MappingProxyType({"release": AttemptOutcome.RELEASED, "take back": AttemptOutcome.UNSPECIFIED})
"""How an attempt ended after which its job went on; by any other move it has FAILED."""

Attempts = dict[int, tuple[int, AttemptOutcome]]
"""fence → number and outcome."""


class PromiseBrokenError(AssertionError):
    """One of them; the text says which."""


class Conditions:
    """Looks on at every commit."""

    def __init__(self, tables: Tables, now: Callable[[], float]) -> None:
        self._tables = tables
        self._now = now
        self._completed: set[str] = set()
        """The batches whose completion jobs are there."""
        self._retried: set[int] = set()
        """Jobs that were run again before their schedule: it counts no more."""
        self._attempts: defaultdict[int, Attempts] = defaultdict(dict)
        """Of each job, as told by its moves."""
        self._cancels: dict[int, BatchRecord] = {}
        """The batches whose jobs are being cancelled, as they were at the last commit."""
        self._swept: set[tuple[int, int]] = set()
        """Jobs that it came to, with the revision at which the sweep began."""
        self._began_at: dict[int, int] = {}

    def committed(self, moves: Sequence[Move]) -> None:
        """The tables hold what they led to."""
        self._follow_sweeps()
        for move in moves:
            if move.before is None:
                assert move.after is not None
                self._judge_submit(move.after, moves)
            elif move.after is None:
                self._judge_removal(move.name, move.before)
            else:
                self._judge_move(move.name, move.before, move.after)

    def judge_end(self) -> None:
        """After the last word is said: ListAttempts would show what happened."""
        for row in self._tables.jobs.values():
            shown: Attempts = {
                fence: (one.attempt, one.outcome)
                for (key, fence), one in self._tables.attempts.items()
                if key == row["key"]
            }
            if row["started_at"] is not None:
                _ = shown.setdefault(row["fence"], (row["attempt"], _ENDS[row["state"]]))
            happened = self._attempts[row["key"]]
            if shown != happened:
                self._broken(f"{row['job_id']} had the attempts {happened}, and its history shows {shown}")

    # --- one by one ---

    def _judge_move(self, name: str, before: Row, after: Row) -> None:
        job_id, now_us = after["job_id"], self._now_us()
        match name:
            case "claim":
                self._judge_claim(before)
            case "expire" if before["attempt"] or before["start_deadline"] > now_us:
                self._broken(f"{job_id} expired in attempt {before['attempt']}, {before['start_deadline']}")
            case "update" if before["state"] not in _WAITING and any(before[n] != after[n] for n in _TURN):
                self._broken(f"the turn of {job_id} was changed while it was {before['state'].name}")
            case "retry":
                self._retried.add(after["key"])
                self._judge_unique(after)
            case "cancel":
                self._judge_cancel(after)
        if after["schedule_at"] != before["schedule_at"]:
            self._retried.discard(after["key"])
        self._note_attempt(name, before, after)

    def _judge_submit(self, row: Row, moves: Sequence[Move]) -> None:
        self._judge_unique(row)
        batch = self._tables.batches.get(row["batch_key"])
        if batch is not None and bool(row["held_back"]) is batch.active and not batch.sweep:
            self._broken(f"{row['job_id']} joined batch {batch.batch_id} as if that were not {batch.active=}")
        batch_id = completed_by(self._tables, row)
        if batch_id is not None:
            self._judge_completion(batch_id, moves)

    def _judge_completion(self, batch_id: str, moves: Sequence[Move]) -> None:
        """Once, and not before its time."""
        if batch_id in self._completed:
            self._broken(f"the completion job of batch {batch_id} was submitted twice")
        self._completed.add(batch_id)
        (batch,) = [one for one in self._tables.batches.values() if one.batch_id == batch_id]
        touched = any(move.after is not None and move.after["batch_key"] == batch.key for move in moves)
        good = batch.completion_policy is CompletionPolicy.ALL_TERMINAL or not (
            batch.counts.failed or batch.counts.cancelled
        )
        if not touched and not (good and batch.closed and batch.counts.ended == batch.counts.total):
            self._broken(f"the completion job of batch {batch_id} was submitted, which has {batch.counts}")

    def _judge_claim(self, row: Row) -> None:
        job_id, now_us = row["job_id"], self._now_us()
        batch = self._tables.batches.get(row["batch_key"])
        if row["held_back"] or (batch is not None and not batch.active and not batch.sweep):
            self._broken(f"{job_id} was claimed, and its batch is not active")
        if row["schedule_at"] is not None and row["schedule_at"] > now_us and row["key"] not in self._retried:
            self._broken(f"{job_id} was claimed {(row['schedule_at'] - now_us) / 1e6:.3f} s before its time")
        if row["start_deadline"] is not None and not row["attempt"] and row["start_deadline"] < now_us:
            self._broken(f"{job_id} was claimed {(now_us - row['start_deadline']) / 1e6:.3f} s after its time")

    def _judge_removal(self, name: str, row: Row) -> None:
        if row["state"] not in TERMINAL_STATES and (name == "purge" or row["state"] in HELD_STATES):
            self._broken(f"{name} of {row['job_id']}, which was {row['state'].name}")

    def _judge_unique(self, row: Row) -> None:
        """It is live now: the only one of its key."""
        mine = _unique(row)
        same = [one for one in self._tables.jobs.values() if row["unique_key"] and _unique(one) == mine]
        live = [one["job_id"] for one in same if one["state"] not in TERMINAL_STATES]
        if len(live) > 1:
            self._broken(f"{' and '.join(live)} are live, and have one unique key")

    # --- sweeps ---

    def _follow_sweeps(self) -> None:
        for batch in self._tables.batches.values():
            if batch.sweep is not Sweep.CANCEL:
                _ = self._cancels.pop(batch.key, None)
                continue
            known = self._cancels.get(batch.key)
            restarted = known is not None and batch.revision > known.revision and batch.sweep_after < known.sweep_after
            if known is None or restarted:
                self._began_at[batch.key] = batch.revision
            self._cancels[batch.key] = batch

    def _judge_cancel(self, row: Row) -> None:
        """A cancel of the batch comes to each of its jobs once, whatever becomes of that later."""
        batch = self._cancels.get(row["batch_key"])
        if batch is None or row["cancel_reason"] != batch.sweep_reason:
            return
        place = (row["key"], self._began_at[batch.key])
        if place in self._swept:
            self._broken(f"{row['job_id']} was cancelled again by the same cancel of batch {batch.batch_id}")
        self._swept.add(place)

    # --- attempts ---

    def _note_attempt(self, name: str, before: Row, after: Row) -> None:
        attempts, fence, state = self._attempts[after["key"]], before["fence"], after["state"]
        if after["attempt"] > before["attempt"] and name != "retry":
            attempts[fence] = (after["attempt"], AttemptOutcome.UNSPECIFIED)
        if fence not in attempts:
            return
        number = attempts[fence][0]
        if name == "complete" or (state in TERMINAL_STATES and before["state"] in HELD_STATES):
            attempts[fence] = (number, _ENDS[state])
        elif name == "take back" or (state in _WAITING and before["state"] in HELD_STATES):
            attempts[fence] = (number, _LEADS_ON.get(name, AttemptOutcome.FAILED))

    def _now_us(self) -> int:
        return START_US + int(self._now() * 1e6)

    def _broken(self, what: str) -> None:
        raise PromiseBrokenError(f"{what} (at {self._now():.3f})")


def _unique(row: Row) -> tuple[object, ...]:
    return (row["queue_key"], row["organization_id"] or row["owner"], row["unique_key"])
