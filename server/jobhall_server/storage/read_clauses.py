"""Conditions that read statements share, in both dialects: whose jobs, which of a bound list, which label."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Any, ClassVar
from uuid import UUID

import orjson
import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from jobhall_server.domain.access import Principal

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


def visible(jobs: sa.Table, sight: Sight) -> Condition:
    """The access clause of a statement that reads jobs; its values are those of `caller`."""
    own = jobs.c.owner == sa.bindparam("caller_subject", type_=sa.Text)
    organization = jobs.c.organization_id == sa.bindparam("caller_organization", type_=sa.Text)
    return {Sight.ALL: sa.true(), Sight.OWN: own, Sight.OWN_AND_ORGANIZATION: own | organization}[sight]


def caller(principal: Principal) -> dict[str, str]:
    """The values of the access clause."""
    return {"caller_subject": principal.subject, "caller_organization": principal.organization_id}


def among(column: sa.ColumnElement[Any], name: str) -> Condition:
    """The column is in the list bound as `name`; one text for every length. Its value is made by `listed`."""
    kind = _AmongNumbers if isinstance(column.type, sa.Integer) else _AmongTexts
    return kind(column, sa.bindparam(name, type_=sa.Text))


def listed(values: Iterable[int | str]) -> str:
    """The value of an `among`."""
    return orjson.dumps(list(values)).decode()


def among_ids(column: sa.ColumnElement[Any]) -> Condition:
    """The 16-byte column is one of the ids bound by `listed_ids`."""
    return _AmongIds(column, sa.bindparam("ids", type_=sa.LargeBinary), sa.bindparam("ids_at", type_=sa.Text))


def listed_ids(ids: Iterable[str]) -> dict[str, bytes | str]:
    """The values of `among_ids`: SQLite's JSON holds no bytes, so they travel as one, with the place of each."""
    packed = b"".join(filter(None, map(id_bytes, ids)))
    return {"ids": packed, "ids_at": listed(range(1, len(packed), 16))}


def label(labels: sa.ColumnElement[Any], number: int) -> Condition:
    """The job has the label bound as `label_key_N` with the value `label_value_N`. A key may hold dots and slashes."""
    value = _Label(labels, sa.bindparam(f"label_key_{number}", type_=sa.Text))
    return value == sa.bindparam(f"label_value_{number}", type_=sa.Text)


def id_bytes(job_id: str) -> bytes | None:
    """The stored form of an id; None of a text that cannot be one, since no job has it."""
    try:
        return UUID(job_id).bytes
    except ValueError:
        return None


def id_text(job_id: bytes) -> str:
    """The canonical text of a stored id; five times as fast as through UUID."""
    digits = job_id.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


class _Written(FunctionElement[Any]):
    """An expression whose text is written for each dialect; the arguments stand in for the braces."""

    inherit_cache = True
    sqlite: ClassVar[str]
    postgresql: ClassVar[str]


class _AmongTexts(_Written):
    type = sa.Boolean()
    sqlite = "{} IN (SELECT value FROM json_each({}))"
    postgresql = "{} IN (SELECT json_array_elements_text(CAST({} AS json)))"


class _AmongNumbers(_AmongTexts):
    postgresql = "{} IN (SELECT CAST(json_array_elements_text(CAST({} AS json)) AS bigint))"


class _AmongIds(_Written):
    type = sa.Boolean()
    sqlite = "{} IN (SELECT substr({}, value, 16) FROM json_each({}))"
    postgresql = (
        "{} IN (SELECT substring({} FROM CAST(place AS int) FOR 16) "
        "FROM json_array_elements_text(CAST({} AS json)) AS places(place))"
    )


class _Label(_Written):
    type = sa.Text()
    sqlite = """json_extract({}, '$."' || {} || '"')"""
    postgresql = "(CAST({} AS json) ->> {})"


@compiles(_Written)
def _write(element: _Written, compiler: SQLCompiler, **options: Any) -> str:
    template: str = getattr(element, compiler.dialect.name)
    return template.format(*(compiler.process(clause, **options) for clause in element.clauses))
