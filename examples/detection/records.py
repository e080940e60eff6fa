"""Typed records from and to plain dicts, strictly: what is unknown, missing or of another type is named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from datetime import datetime
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")


class RecordError(ValueError):
    """A dict is not what the record is made of; the message says where, for people."""


def to_dict(record: Any) -> dict[str, Any]:
    """What JSON can say of a record; a field that is None is left out."""
    values = {field.name: getattr(record, field.name) for field in fields(record)}
    return {name: _plain(value) for name, value in values.items() if value is not None}


def from_dict(kind: type[T], values: object) -> T:
    """The record of a dict; raises RecordError."""
    if not isinstance(values, Mapping):
        raise RecordError(f"{kind.__name__} is read from a dict, not from {values!r}")
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]  # Every record is a dataclass.
    if unknown := sorted(str(name) for name in values if name not in known):
        raise RecordError(f"{kind.__name__} has no {', '.join(unknown)}; it has {', '.join(known)}")
    if missing := [name for name, field in known.items() if field.default is MISSING and name not in values]:
        raise RecordError(f"{kind.__name__} needs {', '.join(missing)}")
    hints = get_type_hints(kind)
    try:
        return kind(**{name: _read(hints[name], value, name) for name, value in values.items()})
    except RecordError:
        raise
    except ValueError as error:
        raise RecordError(f"{kind.__name__}: {error}") from error


def _plain(value: Any) -> Any:
    match value:
        case datetime():
            return value.isoformat()
        case tuple():
            return [_plain(each) for each in value]
        case str() | int() | float():
            return value
        case _:
            return to_dict(value)


def _read(hint: Any, value: Any, name: str) -> Any:
    if isinstance(hint, UnionType):
        kinds = [kind for kind in get_args(hint) if kind is not NoneType]
        return None if value is None else _read(kinds[0], value, name)
    if get_origin(hint) is tuple and isinstance(value, list | tuple):
        return tuple(_read(get_args(hint)[0], each, name) for each in value)
    if get_origin(hint) is Literal and value in get_args(hint):
        return value
    if isinstance(hint, type) and issubclass(hint, Enum) and value in list(hint):
        return hint(value)
    if hint is int and isinstance(value, float) and value.is_integer():
        return int(value)  # JSON has one kind of number, and what comes back from jobhall's details is a float.
    if hint in (int, str) and type(value) is hint:
        return value
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if hint is datetime and isinstance(value, str):
        return datetime.fromisoformat(value)
    if isinstance(hint, type) and isinstance(value, Mapping):
        return from_dict(hint, value)
    raise RecordError(f"{name} is {value!r}, which is no {getattr(hint, '__name__', None) or hint}")
