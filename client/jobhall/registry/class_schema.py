"""A dataclass as JSON Schema, and its instances as what JSON can say and back."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, InitVar, asdict, dataclass, fields, is_dataclass
from datetime import date, datetime
from enum import Enum, Flag
from functools import cache
from types import NoneType, UnionType
from typing import (
    Any,
    ClassVar,
    Literal,
    TypeAlias,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)
from uuid import UUID

from jobhall.errors import FieldViolation

T = TypeVar("T")
_Problems: TypeAlias = list[FieldViolation]
_GIVE_ONE = "give the schema: register(schema=…)"


class ParametersError(ValueError):
    """Parameters do not make an instance of the class; `violations` say all that is wrong, and where."""

    def __init__(self, kind: type, violations: Sequence[FieldViolation]) -> None:
        self.violations = tuple(violations)
        told = "; ".join(f"{it.field} {it.description}" for it in violations)
        super().__init__(f"the parameters make no {kind.__name__}: {told}")


def schema_of(kind: type[Any]) -> dict[str, Any] | None:
    """The JSON Schema of the parameters that make an instance of the dataclass; None of a class that is none.

    A field may be str, int, float, bool, None, Any, a list, tuple, dict with names of text, Literal, Enum (by its
    values), datetime, date, UUID (as text), another dataclass, or a union of these; TypeError names any other.
    """
    if not _is_dataclass(kind):
        return None
    if isinstance(root := _root(kind), TypeError):
        raise TypeError(*root.args)
    return dict(root.schema)


def parameters_of(instance: object) -> dict[str, Any]:
    """The fields of a dataclass's instance as JSON can say them; TypeError where it is none."""
    kind = type(instance)
    if not _is_dataclass(kind):
        raise TypeError(f"{kind.__name__} is no dataclass: submit the class, and its parameters beside it")
    root = _root(kind)
    plain: dict[str, Any] = asdict(instance) if isinstance(root, TypeError) else root.write(instance)  # type: ignore[call-overload]
    return plain


def build(kind: type[T], parameters: Any) -> T:
    """The instance that the parameters make, None of them as `{}`; ParametersError says all that is wrong."""
    given = {} if parameters is None else parameters
    problems: _Problems = []
    made: Any = None
    if not isinstance(given, Mapping):
        problems.append(FieldViolation("parameters", "is no object"))
    else:
        # Where no schema could be made of the class, one was given: it says what the values are.
        root = _root(kind) if _is_dataclass(kind) else None
        made = root.read(given, "", problems) if isinstance(root, _Shape) else _made(kind, given, "", problems)
    if problems:
        raise ParametersError(kind, problems)
    instance: T = made
    return instance


# --- how values of one type are described, written and read ---


@dataclass(frozen=True, slots=True)
class _Shape:
    schema: Mapping[str, Any]
    noun: str
    fits: Callable[[Any], bool]
    """Whether such JSON is one of these."""
    holds: Callable[[Any], bool]
    """Whether such a value is."""
    read: Callable[[Any, str, _Problems], Any]
    write: Callable[[Any], Any]

    def take(self, value: Any, path: str, problems: _Problems) -> Any:
        if self.fits(value):
            return self.read(value, path, problems)
        problems.append(FieldViolation(path, f"is no {self.noun}"))
        return None

    def put(self, value: Any) -> Any:
        """For JSON; what is none of these goes as it is, for the server to say where it does not fit."""
        return self.write(value) if self.holds(value) else value


def _simple(kind: type, schema_type: str, noun: str) -> _Shape:
    def fits(value: Any) -> bool:
        # In Python, not in JSON, true is a number; in JSON, not in Python, 3.0 is whole.
        if isinstance(value, bool):
            return kind is bool
        if kind not in (int, float):
            return isinstance(value, kind)
        return isinstance(value, int) or (isinstance(value, float) and (kind is float or value.is_integer()))

    def read(value: Any, path: str, problems: _Problems) -> Any:
        try:
            return kind(value) if kind in (int, float) else value
        except OverflowError:
            problems.append(FieldViolation(path, f"is too large for a {noun}"))

    return _Shape({"type": schema_type}, noun, fits, fits, read, lambda value: value)


_SIMPLE = {
    str: _simple(str, "string", "text"),
    int: _simple(int, "integer", "whole number"),
    float: _simple(float, "number", "number"),
    bool: _simple(bool, "boolean", "boolean"),
    NoneType: _simple(NoneType, "null", "null"),
}
_ANYTHING = _Shape(
    {}, "value", lambda _: True, lambda _: True, lambda value, _path, _problems: value, lambda value: value
)


def _text(kind: type, text_format: str, parse: Callable[[str], Any], write: Callable[[Any], str]) -> _Shape:
    noun = f"{text_format} as text"

    def read(value: str, path: str, problems: _Problems) -> Any:
        try:
            return parse(value)
        except ValueError:
            problems.append(FieldViolation(path, f"{value!r} is no {noun}"))
            return None

    def holds(value: Any) -> bool:
        # In Python a moment is a day as well; as one it would lose its time.
        return isinstance(value, kind) and not (kind is date and isinstance(value, datetime))

    return _Shape({"type": "string", "format": text_format}, noun, lambda it: isinstance(it, str), holds, read, write)


_TEXTS = {
    datetime: _text(datetime, "date-time", datetime.fromisoformat, datetime.isoformat),
    date: _text(date, "date", date.fromisoformat, date.isoformat),
    UUID: _text(UUID, "uuid", UUID, str),
}


def _shape_of_class(kind: Any) -> _Shape | TypeError:
    try:
        return _object_of(kind, kind.__name__, ())
    except TypeError as error:
        return error.with_traceback(None)


# Said so, since for mypy not every class has a hash.
_root: Callable[[Any], _Shape | TypeError] = cache(_shape_of_class)


def _shape(hint: Any, path: str, above: tuple[type, ...]) -> _Shape:
    """By the type that the class gives its field; `above`: the dataclasses that it is within."""
    if hint is Any or hint is object:
        return _ANYTHING
    if hint is None:
        return _SIMPLE[NoneType]
    if found := _SIMPLE.get(hint) or _TEXTS.get(hint):
        return found
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return _one_of([_shape(it, path, above) for it in inner])
    if origin is Literal:
        return _choice([(it, it) for it in inner], path)
    if isinstance(hint, type) and issubclass(hint, Enum) and not issubclass(hint, Flag):
        return _choice([(it.value, it) for it in hint], path)
    if _is_dataclass(hint):
        return _object_of(hint, path, above)
    if kind := _container(hint if origin is None else origin):
        return _container_of(kind, inner, path, above)
    raise TypeError(f"{path}: {getattr(hint, '__name__', hint)!s} has no JSON Schema here; {_GIVE_ONE}")


def _container(origin: Any) -> type | None:
    if not isinstance(origin, type) or is_typeddict(origin) or issubclass(origin, (str, bytes)):
        return None
    for kind, wide in ((tuple, tuple), (list, Sequence), (dict, Mapping)):
        if issubclass(kind, origin) and issubclass(origin, wide):
            return kind
    return None


def _container_of(kind: type, inner: tuple[Any, ...], path: str, above: tuple[type, ...]) -> _Shape:
    if kind is dict:
        if inner and inner[0] is not str:
            raise TypeError(f"{path}: names in JSON are text, so the keys of a dict are str; {_GIVE_ONE}")
        return _names_of(_shape(inner[1], f"{path}[…]", above) if inner else _ANYTHING)
    if kind is tuple and inner and inner[-1] is not Ellipsis:
        return _entries_of([_shape(it, f"{path}[{at}]", above) for at, it in enumerate(inner)])
    return _list_of(kind, _shape(inner[0], f"{path}[…]", above) if inner else _ANYTHING)


def _list_of(kind: type, entry: _Shape) -> _Shape:
    def read(value: Any, path: str, problems: _Problems) -> Any:
        return kind(entry.take(it, f"{path}[{at}]", problems) for at, it in enumerate(value))

    return _Shape(
        {"type": "array", "items": entry.schema} if entry.schema else {"type": "array"},
        "list",
        lambda value: isinstance(value, list),
        lambda value: isinstance(value, (list, tuple)),
        read,
        lambda value: [entry.put(it) for it in value],
    )


def _entries_of(entries: Sequence[_Shape]) -> _Shape:
    count = len(entries)

    def read(value: Any, path: str, problems: _Problems) -> Any:
        return tuple(
            it.take(part, f"{path}[{at}]", problems) for at, (it, part) in enumerate(zip(entries, value, strict=True))
        )

    schema = {"type": "array", "prefixItems": [it.schema for it in entries], "minItems": count, "maxItems": count}
    return _Shape(
        schema,
        f"list of {count}",
        lambda value: isinstance(value, list) and len(value) == count,
        lambda value: isinstance(value, (list, tuple)) and len(value) == count,
        read,
        lambda value: [it.put(part) for it, part in zip(entries, value, strict=True)],
    )


def _names_of(entry: _Shape) -> _Shape:
    return _Shape(
        {"type": "object", "additionalProperties": entry.schema} if entry.schema else {"type": "object"},
        "object",
        lambda value: isinstance(value, Mapping),
        lambda value: isinstance(value, Mapping),
        lambda value, path, problems: {name: entry.take(it, f"{path}.{name}", problems) for name, it in value.items()},
        lambda value: {name: entry.put(it) for name, it in value.items()},
    )


def _choice(meant: Sequence[tuple[Any, Any]], path: str) -> _Shape:
    """Of pairs: what JSON says, and what it means."""
    plain = [it for it, _ in meant]
    for value in plain:
        if not (value is None or type(value) in (str, int, float, bool)):
            raise TypeError(f"{path}: {value!r} is no choice that JSON can say; {_GIVE_ONE}")

    def same(one: Any, other: Any) -> bool:
        # In Python, not in JSON, 1 and true are equal; 1 and 1.0 are in both.
        return one == other and isinstance(one, bool) is isinstance(other, bool)

    return _Shape(
        {"enum": plain},
        f"choice among {', '.join(map(repr, plain))}",
        lambda value: any(same(it, value) for it in plain),
        lambda value: any(type(it) is type(value) and it == value for _, it in meant),
        lambda value, _path, _problems: next(it for said, it in meant if same(said, value)),
        lambda value: value.value if isinstance(value, Enum) else value,
    )


def _one_of(choices: Sequence[_Shape]) -> _Shape:
    def read(value: Any, path: str, problems: _Problems) -> Any:
        # Of two that look alike from outside, such as two dataclasses, the first that is right within.
        tries: list[tuple[Any, _Problems]] = []
        for it in choices:
            if it.fits(value):
                found: _Problems = []
                tries.append((it.read(value, path, found), found))
                if not found:
                    return tries[-1][0]
        problems += tries[0][1]
        return None

    return _Shape(
        {"anyOf": [it.schema for it in choices]},
        " or ".join(it.noun for it in choices),
        lambda value: any(it.fits(value) for it in choices),
        lambda value: any(it.holds(value) for it in choices),
        read,
        lambda value: next((it for it in choices if it.holds(value)), _ANYTHING).write(value),
    )


@dataclass(frozen=True, slots=True)
class _Field:
    shape: _Shape
    required: bool
    default: Any


def _object_of(kind: type, path: str, above: tuple[type, ...]) -> _Shape:
    if kind in above:
        raise TypeError(f"{path}: a {kind.__name__} within a {kind.__name__} has no end; {_GIVE_ONE}")
    known = _fields(kind, path, (*above, kind))

    def read(value: Mapping[str, Any], at: str, problems: _Problems) -> Any:
        before, dot = len(problems), f"{at}." if at else ""
        problems += [FieldViolation(f"{dot}{it}", f"is no field of {kind.__name__}") for it in value if it not in known]
        missing = [name for name, it in known.items() if it.required and name not in value]
        problems += [FieldViolation(f"{dot}{it}", "is missing") for it in missing]
        arguments = {
            name: it.shape.take(value[name], f"{dot}{name}", problems) for name, it in known.items() if name in value
        }
        return None if len(problems) > before else _made(kind, arguments, at, problems)

    return _Shape(
        _object_schema(known),
        f"object of a {kind.__name__}",
        lambda value: isinstance(value, Mapping),
        lambda value: isinstance(value, kind),
        read,
        lambda value: {name: it.shape.put(getattr(value, name)) for name, it in known.items()},
    )


def _object_schema(known: Mapping[str, _Field]) -> dict[str, Any]:
    properties = {
        name: dict(it.shape.schema) | ({} if it.default is MISSING else {"default": it.shape.write(it.default)})
        for name, it in known.items()
    }
    schema: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
    if required := [name for name, it in known.items() if it.required]:
        schema["required"] = required
    return schema


def _fields(kind: type, path: str, above: tuple[type, ...]) -> dict[str, _Field]:
    try:
        hints = get_type_hints(kind)
    except NameError as error:
        raise TypeError(f"{path}: what its fields are cannot be found out: {error}; {_GIVE_ONE}") from None
    own = {name for name in inspect.get_annotations(kind) if ClassVar not in (hints[name], get_origin(hints[name]))}
    if own and "__dataclass_fields__" not in vars(kind):
        raise TypeError(
            f"{path}: {kind.__name__} has fields of its own and is no dataclass: decorate it with @dataclass"
        )
    if hidden := [name for name, hint in hints.items() if isinstance(hint, InitVar)]:
        raise TypeError(f"{path}.{hidden[0]}: of an InitVar an instance knows nothing later; {_GIVE_ONE}")
    known = {
        it.name: _Field(
            _shape(hints[it.name], f"{path}.{it.name}", above),
            it.default is MISSING and it.default_factory is MISSING,
            it.default,
        )
        for it in fields(kind)
        if it.init
    }
    for name, it in known.items():
        if it.default is not MISSING and not it.shape.holds(it.default):
            raise TypeError(f"{path}.{name}: its default {it.default!r} is no {it.shape.noun}")
    return known


def _made(kind: type, arguments: Mapping[str, Any], at: str, problems: _Problems) -> Any:
    """The instance, or a problem: its own __init__ or __post_init__ may check more than types can say."""
    try:
        return kind(**arguments)
    except (TypeError, ValueError) as error:
        problems.append(FieldViolation(at or "parameters", f"are refused: {error}"))
        return None


def _is_dataclass(kind: Any) -> bool:
    return isinstance(kind, type) and is_dataclass(kind)
