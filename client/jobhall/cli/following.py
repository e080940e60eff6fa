"""Follows jobs by their events, whoever shows them, and knows from where that could go on without missing anything."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from jobhall.cli.exits import Exit
from jobhall.cli.output import Follower, check_reader
from jobhall.cli.remarks import remark
from jobhall.errors import JobNotFoundError
from jobhall.model import Job
from jobhall.model_events import WatchUpdate

if TYPE_CHECKING:
    from jobhall.client import Client
    from jobhall.watching import WatchOptions


@dataclass(slots=True)
class Place:
    """A follower's place: who goes on from its cursor misses nothing, though the last few events may come again.

    Several events share one cursor, which lies after them all, so that only the last of them is said with it.
    """

    cursor: str = ""
    """Empty where one has to begin anew: before the snapshot is whole."""
    whole: bool = False
    """Whether there is a snapshot to wait for no longer."""

    @classmethod
    def of(cls, options: WatchOptions) -> Self:
        """The place where such a watch begins."""
        return cls(options.get("cursor", ""), whole=not options.get("include_snapshot", False))

    def tell(self, update: WatchUpdate, follower: Follower) -> None:
        """Says all that is in the update."""
        if update.reset:
            self.cursor, self.whole = "", False
            follower.begin_anew()
        for job in update.jobs:
            follower.show(job, cursor=self.cursor)
        self.whole = self.whole or update.snapshot_complete
        for event in update.events[:-1]:
            follower.tell(event, cursor=self.cursor)
        before, self.cursor = self.cursor, update.cursor if self.whole else self.cursor
        if update.events:
            follower.tell(update.events[-1], cursor=self.cursor)
        elif self.cursor != before:
            follower.mark(self.cursor)

    @contextmanager
    def told_at_ctrl_c(self) -> Iterator[None]:
        """Who interrupts it is told how to go on."""
        try:
            yield
        except KeyboardInterrupt:
            if self.cursor:
                remark(f"to go on from here: --since {self.cursor}")
            raise


def follow_jobs(
    client: Client,
    job_ids: Sequence[str],
    follower: Follower,
    *,
    options: WatchOptions | None = None,
    place: Place | None = None,
) -> list[Job]:
    """Shows the jobs until they have ended, and returns them whole; raises JobNotFoundError for the first not there.

    With `options` only what they name is shown of what happens: such events, or those after a cursor.
    """
    which: WatchOptions = {"include_snapshot": True, "reset_when_expired": True, **(options or {})}
    which["job_ids"], which["stop_when_terminal"] = job_ids, True
    place = place or Place.of(which)
    shown: dict[str, int] = {}
    with follower, _breaks_told():
        for job in _read(client, job_ids):
            shown[job.id] = job.revision
            if which["include_snapshot"]:
                follower.show(job)
        for update in client.jobs.watch(**which):
            if update.reset:
                shown.clear()  # Of another database, perhaps: its revisions say nothing of these.
            # What changed between the two looks; the same revision again would only be briefer.
            jobs = [job for job in update.jobs if job.revision > shown.get(job.id, 0)]
            shown |= {job.id: job.revision for job in jobs}
            place.tell(replace(update, jobs=tuple(jobs)), follower)
            check_reader()
        ended = _read(client, job_ids)
        for job in ended:
            # The last progress comes with the job, not with the event of its end.
            follower.show(job, cursor=place.cursor)
    return ended


def follow_matching(client: Client, options: WatchOptions, follower: Follower, *, place: Place) -> None:
    """Shows what happens to all jobs of a watch, until it ends or Ctrl-C."""
    with follower, _breaks_told():
        for update in client.jobs.watch(**options):
            place.tell(update, follower)
            check_reader()


def exit_of(jobs: Iterable[Job]) -> Exit:
    """Whether all of them completed."""
    return Exit.OK if all(job.succeeded for job in jobs) else Exit.FAILED


class _ToPeople(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        remark(record.getMessage())


@contextmanager
def _breaks_told() -> Iterator[None]:
    """Who follows is told when the server is away, and when it is back: silence would look like peace."""
    logger, handler = logging.getLogger("jobhall.watching"), _ToPeople()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def _read(client: Client, job_ids: Sequence[str]) -> list[Job]:
    jobs = client.jobs.get_jobs(job_ids)
    if jobs.missing_ids:
        raise JobNotFoundError(jobs.missing_ids[0])
    return list(jobs)
