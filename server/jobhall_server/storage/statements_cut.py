"""The statements that remove what is old: the event log at its old end, and sessions that are over."""

from __future__ import annotations

from functools import lru_cache

import sqlalchemy as sa

from jobhall_server.domain.session import SessionState
from jobhall_server.storage.schema import Tables


def _bound(name: str) -> sa.BindParameter[int]:
    return sa.bindparam(name, type_=sa.BigInteger)


@lru_cache(maxsize=8)
def cut_events(tables: Tables) -> sa.Delete:
    """Of the log's oldest `limit` numbers those from before a time, and those that are more than `events_max`: never a
    gap, since times follow the numbers.
    """
    events = tables.events
    oldest, newest = (sa.select(end(events.c.number)).scalar_subquery() for end in (sa.func.min, sa.func.max))
    too_many = events.c.number <= newest - _bound("events_max")
    return sa.delete(events).where(
        events.c.number < oldest + _bound("limit"), too_many | (events.c.at < _bound("before"))
    )


@lru_cache(maxsize=8)
def cut_sessions(tables: Tables) -> sa.Delete:
    """Sessions that ended before a time and hold nothing any more."""
    sessions, jobs = tables.sessions, tables.jobs
    ended = sessions.c.state.in_([sa.literal_column(str(int(s))) for s in (SessionState.LOST, SessionState.CLOSED)])
    holds = sa.exists().where(jobs.c.held_by == sessions.c.key)
    old = sa.select(sessions.c.key).where(ended, sessions.c.ended_at < _bound("before"), ~holds)
    return sa.delete(sessions).where(sessions.c.key.in_(old.limit(_bound("limit"))))
