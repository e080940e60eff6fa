"""A reader's place in a list of jobs, which may take several filters: what to ask for next; shared by both clients."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime

from jobhall import calls
from jobhall.calls import Call, PageOptions
from jobhall.errors import FieldInvalidError
from jobhall.filters import check_names, filter_texts, settled
from jobhall.misfits import names_misfits
from jobhall.model import Job, JobPage
from jobhall.wire_values import int32

_AGES_AGO = datetime.min.replace(tzinfo=UTC)


class ListPlace:
    """Told each page, it knows which jobs come next, in the list's order, and which page to ask for."""

    @names_misfits
    def __init__(self, options: PageOptions) -> None:
        check_names(options, PageOptions)
        options = settled(options)
        texts = filter_texts(options)
        self._skip = 0
        if len(texts) > 1:
            if options.get("page_token"):
                raise FieldInvalidError("page_token", "is that of one list; the status takes several")
            self._skip = int32(options.pop("skip", 0), field="skip")
        order = options.get("order_by", "").split()
        self._newest_first = not order or order[-1] == "desc"
        self._by_update = order[:1] == ["update_time"]
        self._lists = [_List(options.copy(), text) for text in texts]
        self._told: tuple[datetime, set[str]] = (_AGES_AGO, set())
        """The jobs of the moment that was told last: one that moves from list to list meanwhile is there again."""

    def next_call(self) -> Call[JobPage] | None:
        """What to ask for; None when all was told."""
        return next((it.call() for it in self._lists if it.short), None)

    def take(self, page: JobPage) -> Iterator[Job]:
        """The jobs that come next, after the page that was asked for."""
        next(it for it in self._lists if it.short).take(page)
        while not any(it.short for it in self._lists) and (ready := [it for it in self._lists if it.jobs]):
            first = max if self._newest_first else min
            job = first(ready, key=lambda it: self._moment(it.jobs[0])).jobs.popleft()
            if self._was_told(job):
                continue
            if self._skip:
                self._skip -= 1
            else:
                yield job

    def _was_told(self, job: Job) -> bool:
        moment, told = self._moment(job), self._told
        if told[0] != moment:
            told = self._told = (moment, set())
        if job.id in told[1]:
            return True
        told[1].add(job.id)
        return False

    def _moment(self, job: Job) -> datetime:
        return (job.updated_at if self._by_update else job.created_at) or _AGES_AGO


class _List:
    """The jobs of one filter."""

    def __init__(self, options: PageOptions, text: str) -> None:
        self.jobs: deque[Job] = deque()
        """Those that were read and not told yet."""
        self._options = options
        self._text = text
        self._over = False

    @property
    def short(self) -> bool:
        """Whether its next job is to be asked for."""
        return not self.jobs and not self._over

    def call(self) -> Call[JobPage]:
        return calls.list_jobs(self._options, only=self._text)

    def take(self, page: JobPage) -> None:
        self.jobs.extend(page.jobs)
        self._over = not page.next_page_token
        self._options["page_token"] = page.next_page_token
        self._options.pop("skip", None)
