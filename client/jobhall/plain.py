"""Models as plain dicts and back: nothing in them but what JSON can say, and nothing lost on the way."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, Self, Union, get_args, get_origin, get_type_hints

from jobhall.errors import FieldViolation, PlainFormError


class Plain:
    """A model that can be written as a plain dict, and read from one: `from_dict(json.loads(…))` gives it back.

    The names are those of its fields. Times are in ISO 8601 and UTC, spans are seconds, enums are told by name. Bytes
    are base64, in parameters, result and checkpoint as `{"base64": …}`; an object there whose only name is `base64` or
    `json` is `{"json": …}`, so that it is not taken for that.
    """

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """The model as JSON can say it, none of its fields left out.

        print(json.dumps(client.jobs.get_job(job_id).to_dict()))
        """
        return {name: it.coder.encode(getattr(self, name)) for name, it in _model_fields(type(self)).items()}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """The model that was written so; a field with a default may be left out.

        Raises PlainFormError, whose `violations` say all that is wrong: what is unknown, missing, or of another kind.

            job = Job.from_dict(json.loads(text))
        """
        problems: list[FieldViolation] = []
        arguments = _read_fields(cls, plain, "", problems)
        if problems:
            raise PlainFormError(cls.__name__, problems)
        return cls(**arguments)


# --- how values of one type are written and read ---

_Problems = list[FieldViolation]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Coder:
    noun: str
    kinds: tuple[type, ...]
    """What it writes."""
    forms: tuple[type, ...]
    """What it reads."""
    encode: Callable[[Any], Any]
    decode: Callable[[Any, str, _Problems], Any]

    def reads(self, value: Any) -> bool:
        """Whether the value has one of its forms; in Python, not in JSON, true is a number."""
        if isinstance(value, bool):
            return not {bool, object}.isdisjoint(self.forms)
        return isinstance(value, self.forms)

    def read(self, value: Any, path: str, problems: _Problems) -> Any:
        """The value decoded, or a problem."""
        if not self.reads(value):
            problems.append(FieldViolation(path, f"is no {self.noun}"))
            return None
        return self.decode(value, path, problems)


@dataclass(frozen=True, slots=True)
class _Field:
    coder: _Coder
    required: bool


def _fields_of(kind: Any) -> dict[str, _Field]:
    hints = get_type_hints(kind)
    return {
        it.name: _Field(_coder_of(hints[it.name]), required=it.default is MISSING and it.default_factory is MISSING)
        for it in fields(kind)
    }


def _read_model(kind: type[Any], plain: Any, path: str, problems: _Problems) -> Any:
    before = len(problems)
    arguments = _read_fields(kind, plain, path, problems)
    return None if len(problems) > before else kind(**arguments)


# Said so, since for mypy not every class has a hash.
_model_fields: Callable[[Any], dict[str, _Field]] = cache(_fields_of)


def _read_fields(kind: type[Any], plain: Any, path: str, problems: _Problems) -> dict[str, Any]:
    if not isinstance(plain, Mapping):
        problems.append(FieldViolation(path or kind.__name__, "is no object"))
        return {}
    known = _model_fields(kind)
    at = f"{path}." if path else ""
    problems += [
        FieldViolation(f"{at}{name}", f"is no field of {kind.__name__}") for name in plain if name not in known
    ]
    problems += [
        FieldViolation(f"{at}{name}", "is missing") for name, it in known.items() if it.required and name not in plain
    ]
    return {name: it.coder.read(plain[name], f"{at}{name}", problems) for name, it in known.items() if name in plain}


def _coder_of(hint: Any) -> _Coder:
    """By the type that a model gives its field."""
    if hint is Any:
        return _PAYLOAD
    if hint in _SINGLE:
        return _SINGLE[hint]
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return _one_of([_coder_of(it) for it in inner])
    if origin is tuple:
        return _list_of(_coder_of(inner[0]))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _JSON_OBJECT if inner[1] is Any else _object_of(_coder_of(inner[1]))
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _named(hint)
    if isinstance(hint, type) and issubclass(hint, Plain):
        return _model(hint)
    raise TypeError(f"a model cannot have a field of type {hint!r}: it has no plain form")


def _simple(noun: str, kind: type) -> _Coder:
    return _Coder(noun=noun, kinds=(kind,), forms=(kind,), encode=kind, decode=lambda value, _path, _problems: value)


def _model(kind: type[Plain]) -> _Coder:
    return _Coder(
        noun="object",
        kinds=(kind,),
        forms=(Mapping,),
        encode=lambda value: value.to_dict(),
        decode=lambda value, path, problems: _read_model(kind, value, path, problems),
    )


def _named(kind: type[Enum]) -> _Coder:
    def decode(value: str, path: str, problems: _Problems) -> Any:
        if value in kind.__members__:
            return kind[value]
        problems.append(FieldViolation(path, f"{value!r} is none of {', '.join(kind.__members__)}"))
        return None

    noun = f"name of a {kind.__name__}"
    return _Coder(noun=noun, kinds=(kind,), forms=(str,), encode=lambda value: value.name, decode=decode)


def _list_of(entry: _Coder) -> _Coder:
    return _Coder(
        noun="list",
        kinds=(tuple, list),
        forms=(list, tuple),
        encode=lambda value: [entry.encode(it) for it in value],
        decode=lambda value, path, problems: tuple(
            [entry.read(it, f"{path}[{index}]", problems) for index, it in enumerate(value)]
        ),
    )


def _object_of(entry: _Coder) -> _Coder:
    return _Coder(
        noun="object",
        kinds=(Mapping,),
        forms=(Mapping,),
        encode=lambda value: {name: entry.encode(it) for name, it in value.items()},
        decode=lambda value, path, problems: {
            name: entry.read(it, f"{path}.{name}", problems) for name, it in value.items()
        },
    )


def _one_of(choices: list[_Coder]) -> _Coder:
    # A number may be a span or a float of seconds: the former, as the server would tell it.
    choices = sorted(choices, key=lambda it: it is not _SPAN)

    def encode(value: Any) -> Any:
        return next((it for it in choices if isinstance(value, it.kinds)), choices[0]).encode(value)

    def decode(value: Any, path: str, problems: _Problems) -> Any:
        return next(it for it in choices if it.reads(value)).decode(value, path, problems)

    return _Coder(
        noun=" or ".join(it.noun for it in choices if it is not _NOTHING),
        kinds=tuple(kind for it in choices for kind in it.kinds),
        forms=tuple(form for it in choices for form in it.forms),
        encode=encode,
        decode=decode,
    )


def _write_time(value: datetime) -> str:
    return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _read_time(value: str, path: str, problems: _Problems) -> datetime | None:
    try:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    problems.append(FieldViolation(path, f"{value!r} is no time of ISO 8601 with its offset"))
    return None


def _read_span(value: float, path: str, problems: _Problems) -> timedelta | None:
    try:
        return timedelta(seconds=value)
    except (ValueError, OverflowError):
        problems.append(FieldViolation(path, f"{value!r} is no number of seconds"))
        return None


def _write_bytes(value: Any) -> str:
    return base64.b64encode(value).decode()


def _read_bytes(value: Any, path: str, problems: _Problems) -> bytes | None:
    try:
        return base64.b64decode(value, validate=True)
    except (TypeError, ValueError, binascii.Error):
        problems.append(FieldViolation(path, "is no base64"))
        return None


_WRAPS = frozenset({"base64", "json"})


def _write_payload(value: Any) -> Any:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {"base64": _write_bytes(value)}
    plain = _copied(value)
    return {"json": plain} if isinstance(plain, dict) and len(plain) == 1 and plain.keys() <= _WRAPS else plain


def _read_payload(value: Any, path: str, problems: _Problems) -> Any:
    if not (isinstance(value, Mapping) and len(value) == 1 and value.keys() <= _WRAPS):
        return _copied(value)
    return _copied(value["json"]) if "json" in value else _read_bytes(value["base64"], f"{path}.base64", problems)


def _copied(value: Any) -> Any:
    """A copy, so that who changes a dict changes no model; tuples become the lists that JSON would make of them."""
    if isinstance(value, Mapping):
        return {name: _copied(it) for name, it in value.items()}
    return [_copied(it) for it in value] if isinstance(value, (list, tuple)) else value


_NOTHING = _Coder(
    noun="null",
    kinds=(NoneType,),
    forms=(NoneType,),
    encode=lambda _value: None,
    decode=lambda _value, _path, _problems: None,
)
_NUMBER = _Coder(
    noun="number", kinds=(float, int), forms=(float, int), encode=float, decode=lambda value, _path, _problems: value
)
_SPAN = _Coder(
    noun="number of seconds",
    kinds=(timedelta,),
    forms=(float, int),
    encode=timedelta.total_seconds,
    decode=_read_span,
)
_SINGLE: dict[Any, _Coder] = {
    NoneType: _NOTHING,
    str: _simple("text", str),
    int: _simple("whole number", int),
    bool: _simple("true or false", bool),
    float: _NUMBER,
    bytes: _Coder(noun="base64", kinds=(bytes,), forms=(str,), encode=_write_bytes, decode=_read_bytes),
    datetime: _Coder(noun="time", kinds=(datetime,), forms=(str,), encode=_write_time, decode=_read_time),
    timedelta: _SPAN,
}
_PAYLOAD = _Coder(noun="value", kinds=(object,), forms=(object,), encode=_write_payload, decode=_read_payload)
_JSON_OBJECT = _Coder(
    noun="object",
    kinds=(Mapping,),
    forms=(Mapping,),
    encode=_copied,
    decode=lambda value, _path, _problems: _copied(value),
)
