"""`jobhall watch` and `jobhall events`: what happens to jobs as it happens, and what happened."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from jobhall.cli.arguments import read_cursor, read_event_types, read_logged_event_types
from jobhall.cli.conditions import Conditions, Events, JobIds
from jobhall.cli.context import Context, Injected
from jobhall.cli.exits import Exit, UsageError
from jobhall.cli.following import Place, exit_of, follow_jobs, follow_matching
from jobhall.cli.lists import Limit, entries_max_of, page_size_of
from jobhall.cli.remarks import remark
from jobhall.cli.tables import EVENTS, LoggedEvent
from jobhall.cli.waiting_reasons import told_why_it_waits

if TYPE_CHECKING:
    from jobhall.calls_events import EventPageOptions
    from jobhall.client import Client
    from jobhall.watching import WatchOptions


def watch(
    *job_ids: JobIds,
    conditions: Conditions | None = None,
    event: Events = (),
    since: Annotated[
        str, Parameter(help="Go on after this cursor, as Ctrl-C and --json say it.", allow_leading_hyphen=True)
    ] = "",
    snapshot: Annotated[
        bool | None,
        Parameter(
            negative="--no-snapshot",
            help="First the jobs as they are: those named, or all that match and have not ended."
            " So it is unless --since or --event is given.",
        ),
    ] = None,
    until_done: Annotated[bool, Parameter(help="With --batch: until it is closed and all its jobs ended.")] = False,
    context: Injected,
) -> Exit:
    """Shows what happens to jobs as it happens, each change of state, in order.

    Named jobs are followed to their end (exit 0 if all completed, else 1),
    others until Ctrl-C; after a disconnect it goes on where it was. Piped, a
    line per event. With --json an object per line, {"job": ...} as a job is,
    {"event": ...} as it changes, each with the "cursor" to go on from: after
    that of the last line seen nothing is missing, though a few events may come
    again. A cursor that is too old is told as {"reset": true}. Lines of a job's
    log are shown where they are asked for, by --event log.

    For example:

      jobhall watch 01977c0e-5b7a-7d2c-9b5e-0c1d2e3f4a5b
      jobhall watch --type resize --label team=red
      jobhall watch --event failed --no-snapshot | cut -d' ' -f3
      jobhall watch --json --since "$(tail -n 1 seen | jq -r .cursor)" >> seen
    """
    conditions = conditions or Conditions()
    options: WatchOptions = {
        "event_types": read_event_types(event),
        "cursor": read_cursor(since),
        "include_snapshot": not (since or event) if snapshot is None else snapshot,
        "reset_when_expired": True,
    }
    if until_done and not (conditions.batch or job_ids):
        raise UsageError("--until-done goes with a --batch")
    if not job_ids:
        return _watch_matching({**options, **conditions.which()}, context, until_done=until_done)
    if conditions != Conditions():
        raise UsageError("give job ids or conditions, not both")
    place, follower = Place.of(options), context.output.follow(named=True)
    ids = list(dict.fromkeys(job_ids))
    with context.connect() as client, place.told_at_ctrl_c():
        # Of several it would be noise.
        why = told_why_it_waits(partial(client.jobs.explain, ids[0])) if len(ids) == 1 else nullcontext()
        with why:
            jobs = follow_jobs(client, ids, follower, options=options, place=place)
    for job in jobs:
        context.output.ended(job)
    return exit_of(jobs)


def events(
    *job_ids: JobIds,
    conditions: Conditions | None = None,
    event: Events = (),
    since: Annotated[
        str, Parameter(help="Only what came after this cursor, as --json says it.", allow_leading_hyphen=True)
    ] = "",
    limit: Limit = None,
    context: Injected,
) -> Exit:
    """Shows what happened to jobs, the oldest first, as far back as the log goes.

    Progress and log lines are not in it. Piped, a line each: time, event, id,
    type, state, and what else it says, with tabs between them. With --json
    {"event": ..., "cursor": ...} as in watch.

    For example:

      jobhall events 01977c0e-5b7a-7d2c-9b5e-0c1d2e3f4a5b
      jobhall events --type resize --event failed --limit 0
      jobhall events --json --limit 0 | tail -n 1 | jq -r .cursor
    """
    options: EventPageOptions = {
        **(conditions or Conditions()).which(),
        "job_ids": list(dict.fromkeys(job_ids)),
        "event_types": read_logged_event_types(event),
        "cursor": read_cursor(since),
        "page_size": page_size_of(limit),
    }
    entries_max = entries_max_of(limit)
    with context.connect() as client:
        logged = _logged(client, options)
        context.output.table(EVENTS, islice(logged, entries_max or None))
        if limit is None and next(logged, None) is not None:
            remark(f"there are more than these {entries_max}; --limit 0 shows all")
    return Exit.OK


def _watch_matching(options: WatchOptions, context: Context, *, until_done: bool) -> Exit:
    place, follower = Place.of(options), context.output.follow(named=False)
    with context.connect() as client:
        with place.told_at_ctrl_c():
            follow_matching(client, {**options, "stop_when_terminal": until_done}, follower, place=place)
        if not until_done:
            return Exit.OK
        ended = client.batches.get(options["batch_id"])
    context.output.batch(ended)
    return Exit.OK if ended.succeeded else Exit.FAILED


def _logged(client: Client, options: EventPageOptions) -> Iterator[LoggedEvent]:
    """The entries of the log, each with the cursor that misses nothing after it: the page's own with its last."""
    options = options.copy()
    while True:
        page = client.jobs.events_page(**options)
        for event in page.events[:-1]:
            yield LoggedEvent(event, options["cursor"])
        options["cursor"] = page.cursor
        if page.events:
            yield LoggedEvent(page.events[-1], page.cursor)
        if page.end_reached:
            return
