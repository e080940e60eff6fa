"""The statements of a backup: whose log it is, and what the copy becomes."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from jobhall_server.storage.schema import Tables


@lru_cache(maxsize=8)
def log_id(tables: Tables) -> sa.Select[Any]:
    """Which log this database holds; nothing where no server has ever served it."""
    return sa.select(tables.service.c.log_id)


@lru_cache(maxsize=8)
def begin_another_log(tables: Tables) -> sa.Update:
    """From here on it is another log, :log_id: no cursor of the first one is good for it, and nobody has one of it."""
    return sa.update(tables.service).values(log_id=sa.bindparam("log_id"), synced=1)


@lru_cache(maxsize=8)
def count_jobs(tables: Tables) -> sa.Select[Any]:
    """How many jobs there are, ended ones too."""
    return sa.select(sa.func.count()).select_from(tables.jobs)
