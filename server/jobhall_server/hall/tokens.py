"""Page tokens and cursors: opaque places in a list or in the event log, bound to what they were given out for."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import hashlib
import json
import re

from jobhall.errors import CursorMismatchError, FieldInvalidError
from jobhall_server.hall.views import LogPlace, Place

_NUMBER = re.compile(r"[0-9]{1,18}")
"""A place that fits into 63 bits; a token made up by a caller may hold anything."""
_SURROGATES = re.compile("[\ud800-\udfff]")
_PLACE_MAX = 2**63 - 1


def digest(*parts: object) -> int:
    """63 bits that tell one request, submission or result from another (BLAKE2b of the parts' text)."""
    hasher = hashlib.blake2b(digest_size=8)
    for part in parts:
        hasher.update(repr(part).encode())
        hasher.update(b"\0")
    return int.from_bytes(hasher.digest(), "big") >> 1


def page_token(place: tuple[int | str, int], *request: object) -> str:
    """The token for what follows `place` in the list that `request` describes."""
    return _encode(f"p{json.dumps(place, separators=(',', ':'))}.{_mark(request)}")


def page_place(token: str, *request: object) -> Place | None:
    """Where the page starts; None for an empty token. FieldInvalidError when it is not from this very list."""
    if not token:
        return None
    at, key = _placed(token, request)
    if type(at) is not int or not 0 <= at <= _PLACE_MAX:
        raise _not_ours()
    return Place(at, key)


def named_place(token: str, *request: object) -> tuple[str, int] | None:
    """The same of a list that is ordered by names."""
    if not token:
        return None
    name, key = _placed(token, request)
    # Half a pair of surrogates is no text that a database takes.
    if type(name) is not str or _SURROGATES.search(name):
        raise _not_ours()
    return name, key


def _placed(token: str, request: tuple[object, ...]) -> tuple[object, int]:
    text, _, mark = _decode(token).rpartition(".")
    if not text.startswith("p[") or mark != _mark(request):
        raise _not_ours()
    try:
        at, key = json.loads(text[1:])
    except (ValueError, RecursionError):
        raise _not_ours() from None
    if type(key) is not int or not 0 <= key <= _PLACE_MAX:
        raise _not_ours()
    return at, key


def _not_ours() -> FieldInvalidError:
    return FieldInvalidError("page_token", "not from an answer to this very request; start again without one")


def cursor(log_id: str, number: int) -> str:
    """The cursor that stands right after event `number` of this log."""
    return _encode(f"c{number}.{log_id}")


def cursor_number(text: str, place: LogPlace) -> int:
    """The event that the cursor stands after; CursorMismatchError when it is of another log, beyond its head, or among
    events that were lost with the power.
    """
    number, _, log_id = _decode(text).removeprefix("c").partition(".")
    if not _NUMBER.fullmatch(number) or log_id != place.log_id:
        raise CursorMismatchError
    if int(number) > place.last:
        raise CursorMismatchError(f"stands after event {number}, but the log ends at {place.last}")
    if any(after < int(number) < until for after, until in place.gaps):
        lost = (
            f"stands after event {number}, which was lost with the power, since the server ran below synchronous=FULL"
        )
        raise CursorMismatchError(f"{lost}; start again with a snapshot")
    return int(number)


def _mark(request: tuple[object, ...]) -> str:
    return f"{digest(*map(_in_order, request)):x}"


def _in_order(part: object) -> object:
    """The same value in every process: a set of texts is listed in another order in each."""
    if isinstance(part, frozenset):
        return sorted(part)
    if dataclasses.is_dataclass(part) and not isinstance(part, type):
        return [_in_order(getattr(part, field.name)) for field in dataclasses.fields(part)]
    return part


def _encode(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _decode(token: str) -> str:
    """The text inside, or nothing where it is not one of ours."""
    try:
        return base64.b64decode(
            token.encode("ascii") + b"=" * (-len(token) % 4), altchars=b"-_", validate=True
        ).decode()
    except (binascii.Error, ValueError):
        return ""
