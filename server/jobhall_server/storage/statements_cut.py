"""The statements that remove what is old: the event log at its old end, and sessions that are over."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from jobhall_server.domain.session import SessionState
from jobhall_server.storage.schema import Tables


def _bound(name: str) -> sa.BindParameter[int]:
    return sa.bindparam(name, type_=sa.BigInteger)


@lru_cache(maxsize=8)
def cut_events(tables: Tables) -> sa.Delete:
    """Of the log's oldest `limit` numbers those from before a time, and those that are more than `events_max`: always
    the first ones, since times follow the numbers. Numbers that were left out are no events, and do not count.
    """
    events, gaps = tables.events, tables.log_gaps
    oldest, newest = (sa.select(end(events.c.number)).scalar_subquery() for end in (sa.func.min, sa.func.max))
    width: sa.Select[Any] = sa.select(sa.func.coalesce(sa.func.sum(gaps.c.until_number - gaps.c.after_number), 0))
    # None above the newest event: what was left out at a start after it is followed by none yet.
    left_out = width.where(gaps.c.after_number >= events.c.number, gaps.c.until_number < newest)
    too_many = events.c.number <= newest - _bound("events_max") - left_out.correlate(events).scalar_subquery()
    return sa.delete(events).where(
        events.c.number < oldest + _bound("limit"), too_many | (events.c.at < _bound("before"))
    )


@lru_cache(maxsize=8)
def cut_gaps(tables: Tables) -> sa.Delete:
    """The gaps of what was cut from the log: whoever stands in one learns there that the past is gone. Not the one
    right before the oldest event, at whose beginning nothing is missing.
    """
    oldest = sa.select(sa.func.min(tables.events.c.number)).scalar_subquery()
    return sa.delete(tables.log_gaps).where(tables.log_gaps.c.until_number < oldest - 1)


@lru_cache(maxsize=8)
def cut_sessions(tables: Tables) -> sa.Delete:
    """Sessions that ended before a time and hold nothing any more."""
    sessions, jobs = tables.sessions, tables.jobs
    ended = sessions.c.state.in_([sa.literal_column(str(int(s))) for s in (SessionState.LOST, SessionState.CLOSED)])
    holds = sa.exists().where(jobs.c.held_by == sessions.c.key)
    old = sa.select(sessions.c.key).where(ended, sessions.c.ended_at < _bound("before"), ~holds)
    return sa.delete(sessions).where(sessions.c.key.in_(old.limit(_bound("limit"))))
