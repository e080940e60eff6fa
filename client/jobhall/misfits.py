"""What a caller gave is not of the type that its place has: which argument, what it is, and what to give instead."""

from __future__ import annotations

import inspect
import re
import reprlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from enum import IntEnum
from functools import wraps
from types import NoneType, UnionType
from typing import (
    Any,
    Final,
    ParamSpec,
    SupportsFloat,
    SupportsIndex,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from jobhall.errors import FieldInvalidError
from jobhall.json_faults import HALF_PAIRS, Fault, at_key, called, is_text
from jobhall.unchanged import Unchanged

MISFIT_ERRORS: Final = (TypeError, ValueError, AttributeError)
"""What Python and protobuf say of a misfit, mostly without the name of its place."""
_ID = re.compile(r"\b(job|batch|worker|api_key)_ids?(\[\d+\])?$")
_WORDS: Final[dict[Any, str]] = {
    str: "text",
    bytes: "bytes",
    int: "a whole number",
    float: "a number",
    bool: "True or False",
}
P = ParamSpec("P")
T = TypeVar("T")


def names_misfits(build: Callable[P, T]) -> Callable[P, T]:
    """Says FIELD_INVALID of an argument that the builder of a request stumbles over; its annotations tell which."""

    @wraps(build)
    def naming(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return build(*args, **kwargs)
        except MISFIT_ERRORS as error:
            kinds = get_type_hints(build)
            for name, value in inspect.signature(build).bind(*args, **kwargs).arguments.items():
                kind = kinds.get(name, Any)
                # What stands for keywords is no place of its own.
                spread = is_typeddict(kind) or (is_dataclass(kind) and type(value) is kind)
                tell_misfit(error, value, kind, field="" if spread else name)
            raise

    return naming


def tell_misfit(error: Exception, value: object, kind: Any, *, field: str) -> None:
    """Raises FIELD_INVALID of the first thing in it that is of another kind; for the failing path: it is slow."""
    for fault in _faults(value, kind, field):
        raise FieldInvalidError(fault.place, fault.description) from error


def _faults(value: object, kind: Any, place: str) -> Iterator[Fault]:
    kinds = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    near = [it for it in kinds if _is_a(value, it)]
    if not near:
        yield Fault(place, f"is {_shown(value)}; {_advice(value, kinds, place)}")
    elif all(found := [list(_faults_within(value, it, place)) for it in near]):
        yield from found[0]


def _is_a(value: object, kind: Any) -> bool:
    """Whether it is of that kind, what is in it aside; where the kind is no class, anything is."""
    shape = dict if is_typeddict(kind) else get_origin(kind) or kind
    if shape is Any or not isinstance(shape, type):
        return True
    # Nobody means the letters.
    if isinstance(value, (str, bytes)) and shape not in (str, bytes) and issubclass(shape, Iterable):
        return False
    # What protobuf takes for numbers; numpy has such ones.
    if issubclass(shape, int):
        return isinstance(value, SupportsIndex)
    return isinstance(value, SupportsFloat if shape is float else shape)


def _faults_within(value: Any, kind: Any, place: str) -> Iterator[Fault]:
    if isinstance(value, str) and not is_text(value):
        yield Fault(place, HALF_PAIRS)
    for inner_place, inner, inner_kind in _parts(value, kind, place):
        yield from _faults(inner, inner_kind, inner_place)


def _parts(value: Any, kind: Any, place: str) -> Iterator[tuple[str, object, Any]]:
    """What the value is made of: the place, what stands there, and its kind."""
    shape, inner = get_origin(kind), get_args(kind)
    if is_typeddict(kind):
        yield from ((_in(place, name), value[name], it) for name, it in get_type_hints(kind).items() if name in value)
    elif is_dataclass(kind):
        hints = get_type_hints(kind)
        yield from ((_in(place, it.name), getattr(value, it.name), hints[it.name]) for it in fields(kind))
    elif isinstance(shape, type) and issubclass(shape, Mapping):
        for key, one in value.items():
            yield at_key(place, key), key, inner[0]
            yield at_key(place, key), one, inner[1]
    elif isinstance(shape, type) and issubclass(shape, Iterable) and not isinstance(value, Iterator):
        yield from ((f"{place}[{index}]", one, inner[0]) for index, one in enumerate(value))


def _in(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


def _shown(value: object) -> str:
    return "None" if value is None else f"{reprlib.repr(value)}, {called(value)}"


def _advice(value: object, kinds: tuple[Any, ...], place: str) -> str:
    if str in kinds and (found := _ID.search(place)):
        return f"ids are text, as {found[1]}.id"
    return f"give {' or '.join(_word(value, it) for it in kinds if it not in (NoneType, Unchanged))}"


def _word(value: object, kind: Any) -> str:
    shape = get_origin(kind) or kind
    if word := _WORDS.get(shape):
        return word
    if issubclass(shape, IntEnum):
        names = list(shape.__members__)
        name = value.upper() if isinstance(value, str) and value.upper() in names else names[1]
        return f"{shape.__name__}.{name}"
    if get_args(kind):
        return "a dict" if issubclass(shape, Mapping) else "a list"
    return f"{shape.__name__}(…)"
