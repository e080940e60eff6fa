"""What every part of a commit group works on: the transaction, what is staged for it, and keys to give."""

from __future__ import annotations

from jobhall_server.storage import statements_write
from jobhall_server.storage.execution import Execution
from jobhall_server.storage.staged import Staged


class Loaded:
    """A group's own state, for the parts that `Group` is put together from."""

    def __init__(self, execution: Execution, *, now: int) -> None:
        self._execution = execution
        self._staged = Staged(now)
        self._saved = False
        self._keys_given: dict[str, int] = {}

    @property
    def now(self) -> int:
        return self._staged.now

    @property
    def execution(self) -> Execution:
        """For the store's own units."""
        return self._execution

    def _next_key(self, counter: str) -> int:
        """A key that none of its kind ever had: lease tokens and cursors outlive what they name."""
        counters = self._staged.counters
        last = counters.get(counter)
        if last is None:
            if not self._keys_given:
                self._keys_given = dict(self._execution.rows(statements_write.keys_given(self._execution.tables)))
            last = self._keys_given[counter]
        self._staged.put(counters, counter, last + 1)
        return last + 1
