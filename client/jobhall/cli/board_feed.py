"""Keeps a board up to date: one thread watches, another asks for counts and workers every other second."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from itertools import islice
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Self

from jobhall.cli.board import HELD_MAX, WAITING_MAX, Board, Figures, Order, View
from jobhall.cli.counting import total_of
from jobhall.cli.exits import explain
from jobhall.errors import ApiError, CursorExpiredError, CursorMismatchError, JobhallError
from jobhall.limits import PAGE_SIZE_MAX
from jobhall.model import Job
from jobhall.retry import may_try_again
from jobhall.states import HELD_STATES, WAITING_STATES, JobState

if TYPE_CHECKING:
    from jobhall.cli.conditions import Which
    from jobhall.client import Client

_REFRESH_SECONDS = 2.0
_SILENT_SECONDS = 3 * _REFRESH_SECONDS
_WORKERS_MAX = 200
_JOIN_SECONDS = 2.0


class BoardFeed:
    """A board and who feeds it; in `with` it is kept up, and `view` may be called at any time."""

    def __init__(self, client: Client, which: Which) -> None:
        self.failure: JobhallError | None = None
        """What ended the watch for good."""
        self._client = client
        self._which = which
        self._board = Board()
        self._lock = Lock()
        self._closing = Event()
        self._trouble = ""
        self._refreshed_at = time.monotonic()
        self._added_at = 0.0
        self._brief: list[str] = []
        self._threads = [Thread(target=work, daemon=True) for work in (self._keep_watching, self._keep_counting)]

    @property
    def trouble(self) -> str:
        """What keeps the board from being up to date; empty where nothing does."""
        silent = time.monotonic() - self._refreshed_at
        if self._trouble:
            # First what a narrow terminal must not cut off.
            return f"for {silent:.0f} s: {self._trouble}"
        return f"no word from the server for {silent:.0f} s" if silent > _SILENT_SECONDS else ""

    def view(self, order: Order, *, jobs_max: int) -> View:
        """What there is to show now."""
        with self._lock:
            view = self._board.view(order, jobs_max=jobs_max, now=datetime.now(UTC))
            self._brief = self._board.brief(view)
        return view

    def read(self) -> None:
        """Asks for counts and workers, and looks at the jobs in view that are known too briefly."""
        self._count()
        self._look()
        self._refreshed_at = time.monotonic()

    def read_once(self, order: Order, *, jobs_max: int) -> View:
        """The board as it is now, for one who does not stay."""
        self._count()
        self._begin()
        self.view(order, jobs_max=jobs_max)
        self._look()
        return self.view(order, jobs_max=jobs_max)

    def _count(self) -> None:
        figures = _figures(self._client, self._which)
        listed = self._client.workers.list(namespace=self._which["namespace"], job_types=self._which["job_types"])
        workers = list(islice(listed, _WORKERS_MAX))
        with self._lock:
            self._board.count(figures, workers)

    def _look(self) -> None:
        with self._lock:
            brief = self._brief
        if brief:
            jobs = self._client.jobs.get_jobs(brief)
            with self._lock:
                self._board.learn(jobs, missing_ids=jobs.missing_ids, now=datetime.now(UTC))

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._closing.set()
        self._client.close()  # It ends the watch.
        for thread in self._threads:
            thread.join(_JOIN_SECONDS)

    def _keep_watching(self) -> None:
        while not self._closing.is_set():
            try:
                self._follow()
            except (CursorExpiredError, CursorMismatchError):
                continue  # What happened meanwhile is not to be had any more, but the jobs as they are.
            except JobhallError as error:
                if not (isinstance(error, ApiError) and may_try_again(error)):
                    self.failure = error
                    return
                self._closing.wait(_REFRESH_SECONDS)

    def _follow(self) -> None:
        """The jobs as they are once the watch has its place, and then what happens; revisions tell what is in both.

        A snapshot by the watch would be all jobs that have not ended, of which the board has no use for most.
        """
        with closing(self._client.jobs.watch(**self._which)) as updates:
            for number, update in enumerate(updates):
                if not number:
                    self._begin()
                elif self._board.short:
                    self._add()
                with self._lock:
                    self._board.take(update.events, now=datetime.now(UTC))

    def _begin(self) -> None:
        jobs = [
            *self._oldest(HELD_STATES, jobs_max=HELD_MAX),
            *self._oldest(WAITING_STATES, jobs_max=WAITING_MAX),
        ]
        with self._lock:
            self._board.begin(jobs, now=datetime.now(UTC))

    def _add(self) -> None:
        """Between two messages of the watch: later, what it said of one of them might be forgotten already."""
        if time.monotonic() - self._added_at > _REFRESH_SECONDS:
            jobs = list(self._oldest(WAITING_STATES, jobs_max=WAITING_MAX))
            with self._lock:
                self._board.add(jobs, now=datetime.now(UTC))
            self._added_at = time.monotonic()

    def _oldest(self, states: Iterable[JobState], *, jobs_max: int) -> Iterator[Job]:
        listed = self._client.jobs.list_jobs(
            **self._which, states=states, order_by="create_time", page_size=PAGE_SIZE_MAX
        )
        return islice(listed, jobs_max)

    def _keep_counting(self) -> None:
        while not self._closing.wait(_REFRESH_SECONDS):
            try:
                self.read()
            except JobhallError as error:
                self._trouble = explain(error)
            else:
                self._trouble = ""


def _figures(client: Client, which: Which) -> Figures:
    if which["batch_id"]:
        return Figures(counts=client.batches.get(which["batch_id"]).counts)
    total = total_of(
        client.jobs.stats(namespace=which["namespace"], job_types=which["job_types"], owner=which["owner"])
    )
    return Figures(
        counts=total.counts,
        oldest_pending_age=total.oldest_pending_age,
        completed_per_second=total.completed_per_second,
        failed_per_second=total.failed_per_second,
        wider=bool(which["labels"]),
    )
