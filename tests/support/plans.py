"""What SQLite makes of a statement: the steps of its plan."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from jobhall_server.storage.dialect import prepared
from tests.support.rows import Rows


def plan(rows: Rows, statement: sa.Select[Any]) -> list[str]:
    """The steps, outermost first."""
    text = prepared(statement).text
    with rows.engine.connect() as connection:
        steps = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", (None,) * text.count("?")).all()
    return [step[-1] for step in steps]
