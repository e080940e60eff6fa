"""Keeps a board up to date: one thread watches, another asks for counts and workers every other second."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from itertools import islice
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Self

from jobhall.cli.board import Board, Figures, Order, View
from jobhall.cli.counting import total_of
from jobhall.cli.exits import explain
from jobhall.errors import ApiError, JobhallError
from jobhall.model import WatchUpdate
from jobhall.retry import may_try_again

if TYPE_CHECKING:
    from jobhall.cli.conditions import Which
    from jobhall.client import Client
    from jobhall.watching import WatchOptions

_REFRESH_SECONDS = 2.0
_SILENT_SECONDS = 3 * _REFRESH_SECONDS
_SNAPSHOT_JOBS_MAX = 5000
"""Further jobs of the snapshot are left out: they come to the board when something happens to them."""
_WORKERS_MAX = 200
_JOIN_SECONDS = 2.0


class BoardFeed:
    """A board and who feeds it; in `with` it is kept up, and `view` may be called at any time."""

    def __init__(self, client: Client, which: Which) -> None:
        self.failure: JobhallError | None = None
        """What ended the watch for good."""
        self._client = client
        self._which = which
        whole: WatchOptions = {"include_snapshot": True, "reset_when_expired": True, "cursor": ""}
        self._watch: WatchOptions = {**whole, **which}
        self._board = Board()
        self._lock = Lock()
        self._closing = Event()
        self._trouble = ""
        self._refreshed_at = time.monotonic()
        self._brief: list[str] = []
        self._threads = [Thread(target=work, daemon=True) for work in (self._keep_watching, self._keep_counting)]

    @property
    def trouble(self) -> str:
        """What keeps the board from being up to date; empty where nothing does."""
        silent = time.monotonic() - self._refreshed_at
        if self._trouble:
            return f"{self._trouble} (for {silent:.0f} s)"
        return f"no word from the server for {silent:.0f} s" if silent > _SILENT_SECONDS else ""

    def view(self, order: Order, *, jobs_max: int) -> View:
        """What there is to show now."""
        with self._lock:
            view = self._board.view(order, jobs_max=jobs_max, now=datetime.now(UTC))
            self._brief = self._board.brief(view)
        return view

    def read(self) -> None:
        """Asks for counts and workers, and looks at the jobs in view that are known too briefly."""
        figures = _figures(self._client, self._which)
        listed = self._client.workers.list(namespace=self._which["namespace"], job_types=self._which["job_types"])
        workers = list(islice(listed, _WORKERS_MAX))
        with self._lock:
            self._board.count(figures, workers)
            brief = self._brief
        if brief:
            jobs = self._client.jobs.get_jobs(brief)
            with self._lock:
                self._board.learn(jobs, missing_ids=jobs.missing_ids, now=datetime.now(UTC))
        self._refreshed_at = time.monotonic()

    def read_once(self, order: Order, *, jobs_max: int) -> View:
        """The board as it is now, for one who does not stay."""
        self._follow(until=lambda: self._board.whole or self._full)
        self.view(order, jobs_max=jobs_max)
        self.read()
        return self.view(order, jobs_max=jobs_max)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._closing.set()
        self._client.close()  # It ends the watch.
        for thread in self._threads:
            thread.join(_JOIN_SECONDS)

    @property
    def _full(self) -> bool:
        asked = self._watch["include_snapshot"]
        return asked and not self._board.whole and self._board.taken >= _SNAPSHOT_JOBS_MAX

    def _keep_watching(self) -> None:
        while not self._closing.is_set():
            try:
                self._follow(until=lambda: self._full)
            except JobhallError as error:
                if not (isinstance(error, ApiError) and may_try_again(error)):
                    self.failure = error
                    return
                self._closing.wait(_REFRESH_SECONDS)

    def _follow(self, *, until: Callable[[], bool]) -> None:
        """Tells the board what happens; after it another call goes on from there, without the rest of a snapshot."""
        with closing(self._client.jobs.watch(**self._watch)) as updates:
            for update in updates:
                self._take(update)
                if until():
                    self._watch["cursor"], self._watch["include_snapshot"] = update.cursor, False
                    return

    def _take(self, update: WatchUpdate) -> None:
        if update.reset:
            self._watch["include_snapshot"] = True  # It comes, asked for or not.
        with self._lock:
            self._board.take(update, now=datetime.now(UTC))

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
