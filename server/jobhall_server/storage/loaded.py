"""What every part of a commit group works on: the transaction, what is staged for it, and numbers to give."""

from __future__ import annotations

from jobhall_server.domain.batch import BatchRecord
from jobhall_server.domain.job import JobRecord
from jobhall_server.domain.session import SessionRecord
from jobhall_server.storage.execution import Execution
from jobhall_server.storage.numbers import Numbers
from jobhall_server.storage.overlays import Moved
from jobhall_server.storage.staged import Staged


class Loaded:
    """A group's own state, for the parts that `Group` is put together from."""

    def __init__(self, execution: Execution, *, now: int) -> None:
        self._execution = execution
        self._staged = Staged(now)
        self._saved = False
        self._jobs: dict[int, JobRecord] = {}
        self._keys_by_id: dict[str, int] = {}
        self._after_moves: dict[int, tuple[Moved, JobRecord]] = {}
        self._sessions: dict[int, SessionRecord] = {}
        self._session_keys: dict[str, int] = {}
        self._batches: dict[int, BatchRecord] = {}
        self._batch_keys: dict[str, int] = {}
        self._numbers = Numbers(execution, self._staged)

    @property
    def now(self) -> int:
        return self._staged.now

    @property
    def execution(self) -> Execution:
        """For the store's own units."""
        return self._execution
