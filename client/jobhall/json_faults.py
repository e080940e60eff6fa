"""What in a value JSON cannot say: the place, what stands there, and what to write instead."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, is_dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from math import isfinite, isnan
from typing import Any, Final, TypeAlias

_DEPTH_MAX: Final = 500
"""Deeper than anything that is meant; the encoder itself gives up at about twice that."""
_KEY_LENGTH_MAX: Final = 60
_KEYS: Final = (str, int, float, type(None))
"""What the encoder takes as a key; bool is an int."""
_NESTING: Final = (dict, list, tuple)
_OWN_WORDS: Final = {"builtins", "datetime", "decimal", "uuid", "__main__"}
"""Modules whose names tell nobody more."""
_Steps: TypeAlias = Iterator[tuple[str, object]]


@dataclass(frozen=True, slots=True)
class Fault:
    """The first thing that JSON cannot say: where it stands, such as `result.rows[3].when`, and what to do."""

    place: str
    description: str


def fault_in(content: object, *, field: str) -> Fault | None:
    """Looks where the encoder failed, in its order; None where it is not found. For the failing path: it is slow."""
    fault = _fault_of(field, content)
    walks: list[tuple[object, _Steps]] = [] if fault else [(content, _steps(field, content))]
    while walks and fault is None:
        step = next(walks[-1][1], None)
        if step is None:
            walks.pop()
            continue
        place, value = step
        if isinstance(value, _NESTING) and any(value is outer for outer, _ in walks):
            return Fault(place, "holds what it is in itself (Circular reference); JSON has no end for that")
        if len(walks) > _DEPTH_MAX:
            return Fault(field, f"is nested more than {_DEPTH_MAX} levels deep; make it flatter")
        fault = _fault_of(place, value)
        if isinstance(value, _NESTING):
            walks.append((value, _steps(place, value)))
    return fault


def _steps(place: str, value: object) -> _Steps:
    if isinstance(value, dict):
        return ((at_key(place, key), inner) for key, inner in value.items())
    if isinstance(value, (list, tuple)):
        return ((f"{place}[{index}]", inner) for index, inner in enumerate(value))
    return iter(())


def at_key(place: str, key: object) -> str:
    return f"{place}.{key}" if isinstance(key, str) and key.isidentifier() else f"{place}[{_shown(key)}]"


def _shown(key: object) -> str:
    text = ascii(key)
    return text if len(text) <= _KEY_LENGTH_MAX else f"{text[:_KEY_LENGTH_MAX]}…"


def _fault_of(place: str, value: object) -> Fault | None:
    """What is wrong with the value itself, its contents aside but its keys included."""
    match value:
        case bool() | int() | None:
            return None
        case str():
            return None if is_text(value) else Fault(place, HALF_PAIRS)
        case float():
            return None if isfinite(value) else Fault(place, _NOT_FINITE.format("NaN" if isnan(value) else "infinity"))
        case dict():
            return next(filter(None, (_fault_of_key(place, key) for key in value)), None)
        case list() | tuple():
            return None
    return Fault(place, f"is {called(value)}, which JSON cannot say; {_advice(value)}")


def _fault_of_key(place: str, key: object) -> Fault | None:
    if not isinstance(key, _KEYS):
        return Fault(place, f"has the key {_shown(key)}, {called(key)}; keys are text: make it one, as by str(…)")
    if isinstance(key, float) and not isfinite(key):
        return Fault(place, f"has the key {key!r} (NaN and infinities have no JSON form); keys are text")
    return None if not isinstance(key, str) or is_text(key) else Fault(at_key(place, key), HALF_PAIRS)


HALF_PAIRS: Final = "holds half a character (surrogates not allowed); decode it with errors='replace'"
_NOT_FINITE: Final = "is {}: NaN and infinities have no JSON form; hand over None in its place"


def is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def called(value: object) -> str:
    """The value's type with its article and, where it is not Python's own, where it comes from: a numpy.float32."""
    kind = type(value)
    package = kind.__module__.partition(".")[0]
    name = kind.__qualname__ if package in _OWN_WORDS else f"{package}.{kind.__qualname__}"
    return f"{'an' if name[0] in 'aeioAEIO' else 'a'} {name}"


def _advice(value: Any) -> str:
    match value:
        case date() | time():
            return "hand over its .isoformat()"
        case timedelta():
            return "hand over its .total_seconds()"
        case Decimal():
            return "hand over float(…), or str(…) to keep it exact"
        case Enum():
            return "hand over its .value"
        case bytes() | bytearray() | memoryview():
            return "hand over base64.b64encode(…).decode() here; only bytes that are all there is go as they are"
        case set() | frozenset():
            return "hand over sorted(…) or list(…)"
    if inspect.isawaitable(value):
        return "await it first"
    return _advice_by_shape(value)


def _advice_by_shape(value: Any) -> str:
    """By what the value can do: nothing here imports numpy, pandas or the like."""
    if isinstance(value, type):
        return "hand over an object of it, as a dict"
    if _can(value, "tolist"):
        return "hand over its .item()" if getattr(value, "shape", None) == () else "hand over its .tolist()"
    if _can(value, "to_dict"):
        return "hand over its .to_dict('records')" if hasattr(value, "columns") else "hand over its .to_dict()"
    if _can(value, "model_dump"):
        return "hand over its .model_dump(mode='json')"
    if is_dataclass(value):
        return "hand over dataclasses.asdict(…)"
    if isinstance(value, Mapping):
        return "hand over dict(…)"
    if isinstance(value, Iterable):
        return "hand over list(…)"
    return "hand over str(…), or what of it matters as dict, list, text and numbers"


def _can(value: object, name: str) -> bool:
    try:
        return callable(getattr(value, name, None))
    except Exception:  # noqa: BLE001 - a user's object may raise anything, and another error is being told
        return False
