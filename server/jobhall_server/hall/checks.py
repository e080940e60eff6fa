"""What is wrong with a name, a label or a payload that a caller sent; the same words for every use case."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Mapping

from jobhall.errors import FieldInvalidError, FieldViolation
from jobhall.limits import (
    JOB_TYPE_PATTERN,
    JOB_TYPE_PREFIX_GLOBAL,
    JOB_TYPE_PREFIX_OWN,
    LABEL_KEY_PATTERN,
    LABEL_VALUE_BYTES_MAX,
    LABELS_MAX,
    NAMESPACE_ANY,
    NAMESPACE_DEFAULT,
    NAMESPACE_GLOBAL,
    NAMESPACE_PATTERN,
)
from jobhall_server.hall.registry import split_job_type

_NAMESPACE = re.compile(NAMESPACE_PATTERN)
_JOB_TYPE = re.compile(JOB_TYPE_PATTERN)
_LABEL_KEY = re.compile(LABEL_KEY_PATTERN)
_SHOWN_BYTES_MAX = 4096
_JOB_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def namespace_fault(name: str, *, or_global: bool = False) -> str | None:
    """What is wrong with a namespace's name; None when it may be used."""
    if _NAMESPACE.fullmatch(name) or (or_global and name == NAMESPACE_GLOBAL):
        return None
    return f"{name[:80]!r} is no namespace; it must match {NAMESPACE_PATTERN}"


def one_namespace(name: str, field: str, *, or_global: bool = False) -> str:
    """The namespace that a caller means, `default` where it is empty; FieldInvalidError names `field`."""
    name = name or NAMESPACE_DEFAULT
    fault = namespace_fault(name, or_global=or_global)
    if fault is not None:
        raise FieldInvalidError(field, fault)
    return name


def listed_namespace(name: str, field: str) -> str | None:
    """The same where a list or a watch may also ask for `-`: None means every namespace."""
    return None if name == NAMESPACE_ANY else one_namespace(name, field)


def check_job_type(spec: str, field: str) -> str:
    """The name as given; FieldInvalidError when no type can have it."""
    name = split_job_type(spec)[1]
    if not _JOB_TYPE.fullmatch(name) or name.startswith((JOB_TYPE_PREFIX_GLOBAL, JOB_TYPE_PREFIX_OWN)):
        raise FieldInvalidError(field, f"{spec[:80]!r} is no job type; write name or category:name")
    return spec


def check_labels(labels: Mapping[str, str], field: str) -> None:
    """FieldInvalidError when there are too many labels, or one has a key or value that is not allowed."""
    if len(labels) > LABELS_MAX:
        raise FieldInvalidError(field, f"has {len(labels)} labels; the limit is {LABELS_MAX}")
    for key, value in labels.items():
        if not _LABEL_KEY.fullmatch(key):
            raise FieldInvalidError(f"{field}[{key[:80]!r}]", f"a label's key must match {LABEL_KEY_PATTERN}")
        check_text(value, LABEL_VALUE_BYTES_MAX, f"{field}[{key!r}]")


def check_text(value: str, limit: int, field: str) -> None:
    """FieldInvalidError when a text is longer than `limit` bytes of UTF-8, or holds U+0000, at which SQLite's JSON ends
    and which PostgreSQL does not keep.
    """
    if "\0" in value:
        raise FieldInvalidError(field, "holds the character U+0000; leave it out")
    size = len(value) if value.isascii() else len(value.encode())
    if size > limit:
        raise FieldInvalidError(field, f"has {size} bytes; the limit is {limit}")


def check_count(count: int, limit: int, field: str) -> None:
    """FieldInvalidError when a list has more than `limit` entries."""
    if count > limit:
        raise FieldInvalidError(field, f"has {count} entries; the limit is {limit}: split the request")


def check_range(value: int, low: int, high: int, field: str) -> None:
    """FieldInvalidError when a number lies outside `low`..`high`."""
    if not low <= value <= high:
        raise FieldInvalidError(field, f"is {value}; it must lie in {low}..{high}")


def shown(violations: Iterable[FieldViolation]) -> list[FieldViolation]:
    """As many as fit into the trailers of an answer."""
    kept: list[FieldViolation] = []
    size = 0
    for violation in violations:
        size += len(violation.field.encode()) + len(violation.description.encode())
        if size > _SHOWN_BYTES_MAX and kept:
            break
        kept.append(violation)
    return kept


def job_id(text: str, field: str = "job_id") -> str:
    """The canonical form of a job's id; FieldInvalidError when it is not a UUID."""
    if _JOB_ID.fullmatch(text):
        return text
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise FieldInvalidError(field, f"{text[:80]!r} is no UUID" if text else "is required") from None
