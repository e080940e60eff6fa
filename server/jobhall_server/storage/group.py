"""One commit group: what its units name is loaded at once, what they decide is kept in memory and saved at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from jobhall_server.hall.store import Claimed, Logged, Unit, Want
from jobhall_server.storage import statements_cut
from jobhall_server.storage.batches import Batches, save_batches
from jobhall_server.storage.claims import claim
from jobhall_server.storage.execution import Execution
from jobhall_server.storage.group_imports import Imports
from jobhall_server.storage.group_names import Names
from jobhall_server.storage.group_sessions import Sessions
from jobhall_server.storage.saving import save
from jobhall_server.storage.tally import Tally

T = TypeVar("T")


class SpoiledGroupError(RuntimeError):
    """A unit raised after its claim was written: the group has to be run again without it."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


class Group(Imports, Sessions, Names, Batches):
    """`hall.store.Group` over the writer's transaction, which its owner begins and commits.

    The order is load, decide for each unit, save, decide for the units `after_save`, finish.
    """

    def __init__(self, execution: Execution, *, now: int) -> None:
        super().__init__(execution, now=now)
        self._tally = Tally(execution, self._staged, self._numbers)
        self._claimed = False
        self.ended_batches: Sequence[int] = ()
        """Batches that were touched and are over now; when it is finished."""

    @property
    def logged(self) -> Logged:
        """The jobs of the events so far."""
        return self._staged.logged

    @property
    def touched(self) -> int:
        """How many rows it has to write by now, roughly: when it is time to save."""
        return self._staged.size

    def load(self, units: Iterable[Unit[Any]]) -> None:
        """Read what the units name, with one statement per table."""
        job_keys: set[int] = set()
        job_ids: set[str] = set()
        session_keys: set[int] = set()
        session_ids: set[str] = set()
        batch_keys: set[int] = set()
        batch_ids: set[str] = set()
        for unit in units:
            job_keys.update(unit.job_keys)
            job_ids.update(unit.job_ids)
            session_keys.update(unit.session_keys)
            session_ids.update(unit.session_ids)
            batch_keys.update(unit.batch_keys)
            batch_ids.update(unit.batch_ids)
        self._load_sessions(session_keys, session_ids)
        self._load_batches(batch_keys, batch_ids)
        self._load_jobs(job_keys, job_ids)

    def decide(self, unit: Unit[T]) -> T:
        """What the unit answers; when it raises, what it had told the group is dropped."""
        self._staged.begin()
        try:
            return unit.decide(self)
        except Exception as error:
            self._staged.undo()
            if self._claimed:
                raise SpoiledGroupError(error) from error
            raise

    def save(self) -> None:
        """Write all that was decided."""
        self._tally.count_new()
        self._tally.count_imported()
        self._tally.count_items(self._jobs)
        if self._staged.batches or self._staged.deleted_batches:
            save_batches(self._execution, self._staged)
        save(self._execution, self._staged, self._numbers)
        self._saved = True

    def finish(self) -> int | None:
        """Write the counters; answers the number of the last event, if there is any."""
        self.ended_batches = self._tally.write()
        self._numbers.write()
        return self._numbers.last_event

    def claim(self, wants: Sequence[Want]) -> list[list[Claimed]]:
        if not self._saved:
            raise ValueError("only a unit with after_save may claim")
        self._claimed = True
        welcome = [place for place, want in enumerate(wants) if self._may_claim(want)]
        won = claim(self._execution, [wants[place] for place in welcome], self._staged, self._numbers)
        given = dict(zip(welcome, won, strict=True))
        return [given.get(place, []) for place in range(len(wants))]

    def cut_old(self, *, before: int, events_max: int, limit: int) -> int:
        if not self._saved:
            raise ValueError("only a unit with after_save may remove what is old")
        tables, step = self._execution.tables, {"before": before, "limit": limit}
        events = self._execution.write(statements_cut.cut_events(tables), events_max=events_max, **step)
        if events:
            self._execution.write(statements_cut.cut_gaps(tables))
        return events + self._execution.write(statements_cut.cut_sessions(tables), **step)
