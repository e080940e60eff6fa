"""Conditions that read statements share, in both dialects: whose jobs, which of a bound list, which label."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Any

import orjson
import sqlalchemy as sa

from jobhall_server.domain.access import Principal
from jobhall_server.storage.codec import id_bytes
from jobhall_server.storage.dialect import Written, keys

Condition = sa.ColumnElement[bool]


class Sight(Enum):
    """How much of the jobs exists for a caller: `domain.access.may_touch` as a condition."""

    ALL = "all"
    OWN = "own"
    OWN_AND_ORGANIZATION = "own and organization"

    @classmethod
    def of(cls, principal: Principal) -> Sight:
        """What that caller sees."""
        if principal.admin:
            return cls.ALL
        return cls.OWN_AND_ORGANIZATION if principal.organization_id else cls.OWN


def visible(owned: sa.Table, sight: Sight) -> Condition:
    """The access clause of a statement that reads jobs or batches; its values are those of `caller`."""
    own = owned.c.owner == sa.bindparam("caller_subject", type_=sa.Text)
    organization = owned.c.organization_id == sa.bindparam("caller_organization", type_=sa.Text)
    return {Sight.ALL: sa.true(), Sight.OWN: own, Sight.OWN_AND_ORGANIZATION: own | organization}[sight]


def caller(principal: Principal) -> dict[str, str]:
    """The values of the access clause."""
    return {"caller_subject": principal.subject, "caller_organization": principal.organization_id}


def among(column: sa.ColumnElement[str], name: str) -> Condition:
    """The text column is in the list bound as `name`; one statement for every length. Its value is made by `listed`."""
    return _AmongTexts(column, sa.bindparam(name, type_=sa.Text))


def listed(values: Iterable[str]) -> str:
    """The value of an `among` on SQLite; psycopg takes the list itself."""
    return orjson.dumps(list(values)).decode()


def among_ids(column: sa.ColumnElement[Any]) -> Condition:
    """The 16-byte column is one of the ids bound by `listed_ids`."""
    return _AmongIds(column, sa.bindparam("ids", type_=sa.LargeBinary), sa.bindparam("ids_at", type_=sa.Text))


def listed_ids(ids: Iterable[str]) -> dict[str, bytes | str]:
    """The values of `among_ids` on SQLite: its JSON holds no bytes, so they travel as one, with the place of each."""
    packed = b"".join(filter(None, map(stored_id, ids)))
    return {"ids": packed, "ids_at": keys(range(1, len(packed), 16))}


def label(labels: sa.ColumnElement[Any], number: int) -> Condition:
    """The job has the label bound as `label_key_N` with the value `label_value_N`. A key may hold dots and slashes."""
    value = _Label(labels, sa.bindparam(f"label_key_{number}", type_=sa.Text))
    return value == sa.bindparam(f"label_value_{number}", type_=sa.Text)


def stored_id(job_id: str) -> bytes | None:
    """The 16 bytes of an id; None of a text that cannot be one, since no job has it."""
    try:
        stored = id_bytes(job_id)
    except ValueError:
        return None
    return stored if len(stored) == 16 else None


class _AmongTexts(Written):
    type = sa.Boolean()
    sqlite = "{} IN (SELECT value FROM json_each({}))"
    postgresql = "{} = ANY (CAST({} AS TEXT[]))"


class _AmongIds(Written):
    type = sa.Boolean()
    sqlite = "{} IN (SELECT substr({}, value, 16) FROM json_each({}))"
    postgresql = "{} = ANY (CAST({} AS BYTEA[]))"


class _Label(Written):
    type = sa.Text()
    sqlite = """json_extract({}, '$."' || {} || '"')"""
    postgresql = "(CAST({} AS JSON) ->> {})"
