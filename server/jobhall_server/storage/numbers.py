"""The numbers that a group gives: of events, and keys of every kind."""

from __future__ import annotations

from jobhall_server.storage import statements_write
from jobhall_server.storage.execution import Execution
from jobhall_server.storage.schema_groups import LAST_EVENT, LAST_NUMBERS
from jobhall_server.storage.staged import Staged


class Numbers:
    """Read and locked when the group gives its first, written once when it ends: nobody else gives any meanwhile, so
    that events are numbered in the order of commits.
    """

    def __init__(self, execution: Execution, staged: Staged) -> None:
        self._execution = execution
        self._given = staged.last_numbers
        self._put = staged.put
        self._stored: dict[str, int] = {}

    @property
    def last_event(self) -> int | None:
        """The number of the group's last event, if it has any."""
        return self._given.get(LAST_EVENT)

    def next_key(self, kind: str) -> int:
        """A key that none of its kind ever had: lease tokens and cursors outlive what they name."""
        last = self._given.get(kind)
        if last is None:
            last = self._last_stored(kind)
        self._put(self._given, kind, last + 1)
        return last + 1

    def take_events(self, count: int) -> int:
        """Numbers for so many events; answers the first."""
        last = self._given.get(LAST_EVENT)
        if last is None:
            last = self._last_stored(LAST_EVENT)
        self._given[LAST_EVENT] = last + count
        return last + 1

    def write(self) -> None:
        """Note what was given."""
        if self._given:
            statement = statements_write.set_last_numbers(self._execution.tables, tuple(self._given))
            self._execution.write_row(statement, tuple(self._given.values()))

    def _last_stored(self, kind: str) -> int:
        if not self._stored:
            self._stored = _stored(self._execution)
        return self._stored[kind]


def give(execution: Execution, kind: str, count: int) -> int:
    """Give so many numbers beside those of a group; answers the last."""
    last = _stored(execution)[kind] + count
    execution.write_row(statements_write.set_last_numbers(execution.tables, (kind,)), (last,))
    return last


def _stored(execution: Execution) -> dict[str, int]:
    return dict(zip(LAST_NUMBERS, execution.row(statements_write.last_numbers(execution.tables)), strict=True))
