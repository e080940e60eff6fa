"""The statements that load sessions."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from jobhall_server.storage.dialect import as_json, key_rows
from jobhall_server.storage.read_clauses import among
from jobhall_server.storage.schema import Tables

_SESSION = "key session_id resume_digest state epoch replica_key connection ttl_us detached_at ended_at drain_at"
SESSION = tuple(_SESSION.split())
"""The columns of `SessionRecord`, in its order."""


@lru_cache(maxsize=8)
def sessions_by_key(tables: Tables) -> sa.Select[Any]:
    """What decisions read of those sessions; they are locked for it."""
    sessions, wanted = tables.sessions, key_rows()
    rows = sa.select(*(sessions.c[name] for name in SESSION)).select_from(
        wanted.join(sessions, sessions.c.key == wanted.c.value)
    )
    return as_json(rows.with_for_update(of=sessions))


@lru_cache(maxsize=8)
def sessions_by_id(tables: Tables) -> sa.Select[Any]:
    """The same of the sessions of those ids."""
    sessions = tables.sessions
    rows = sa.select(*(sessions.c[name] for name in SESSION)).where(among(sessions.c.session_id, "session_ids"))
    return as_json(rows.with_for_update())
