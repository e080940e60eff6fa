"""What the units of a group have decided and nobody has written yet; what one unit added can be taken back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeVar

from jobhall_server.domain.batch import BatchRecord
from jobhall_server.domain.job import AttemptView, ItemError, JobFailure, JobRecord, JobView, NewJob, Payload
from jobhall_server.domain.session import NewSession, SessionRecord
from jobhall_server.hall.store import Home, UniqueKey
from jobhall_server.hall.views import JobTypeView, LogLine, PayloadKind
from jobhall_server.storage.overlays import ClosedAttempt, Moved

K = TypeVar("K")
V = TypeVar("V")

_ABSENT: Final = object()
_KINDS = tuple(PayloadKind)

LeaseKey = tuple[int, int]
"""Job key, fence."""

LeasePlace = tuple[int, int, int]
"""Job key, fence, number in the lease."""


class Staged:
    """Maps from keys to what is to be written, and a journal of their changes since the unit began."""

    def __init__(self, now: int) -> None:
        self.now = now
        self.logged: list[Sequence[int]] = []
        self.last_numbers: dict[str, int] = {}
        self.moved: dict[int, Moved] = {}
        self.new_jobs: dict[int, NewJob] = {}
        self.new_keys: dict[str, int] = {}
        self.imported: dict[int, tuple[JobView, Home]] = {}
        self.imported_attempts: dict[LeaseKey, AttemptView] = {}
        self.deleted: dict[int, tuple[JobRecord, bool]] = {}
        self.stats_keys: dict[int, int] = {}
        self.claimed: list[tuple[int, int | None]] = []
        self.previous: dict[int, tuple[str | None, ...]] = {}
        self.unique: dict[UniqueKey, int] = {}
        self.attempts: dict[LeaseKey, ClosedAttempt | None] = {}
        self.attempts_if_new: dict[LeaseKey, ClosedAttempt] = {}
        self.payloads: dict[PayloadKind, dict[int, Payload]] = {kind: {} for kind in _KINDS}
        self.checkpoint_progress: dict[int, str | None] = {}
        self.failures: dict[LeaseKey, JobFailure] = {}
        self.progress: dict[LeaseKey, str] = {}
        self.item_errors: dict[LeasePlace, ItemError] = {}
        self.logs: dict[LeasePlace, LogLine] = {}
        self.log_drops: dict[LeaseKey, int] = {}
        self.exclusions: dict[tuple[int, int], None] = {}
        self.handed_over: dict[int, None] = {}
        self.sessions: dict[int, SessionRecord] = {}
        self.session_keys: dict[str, int] = {}
        self.new_sessions: dict[int, NewSession] = {}
        self.hellos: dict[int, NewSession] = {}
        self.namespaces: dict[str, int] = {}
        self.job_types: dict[tuple[int, str], JobTypeView] = {}
        self.new_types: dict[int, None] = {}
        self.queues: dict[tuple[int, int], int] = {}
        self.new_batches: dict[int, None] = {}
        self.batch_keys: dict[str, int] = {}
        self.batches: dict[int, BatchRecord] = {}
        self.deleted_batches: dict[int, None] = {}
        self.size = 0
        self._journal: list[tuple[dict[Any, Any], Any, Any]] = []

    def begin(self) -> None:
        """A unit begins: what was put so far stays."""
        self.size += len(self._journal)
        self._journal.clear()

    def put(self, mapping: dict[K, V], key: K, value: V) -> None:
        """Set a value, so that `undo` knows what was there."""
        self._journal.append((mapping, key, mapping.get(key, _ABSENT)))
        mapping[key] = value

    def put_new(self, mapping: dict[K, V], key: K, value: V) -> None:
        """Set a value unless there is one."""
        if key not in mapping:
            self._journal.append((mapping, key, _ABSENT))
            mapping[key] = value

    def undo(self) -> None:
        """Take back what was put since `begin`."""
        for mapping, key, before in reversed(self._journal):
            if before is _ABSENT:
                del mapping[key]
            else:
                mapping[key] = before
        self._journal.clear()
