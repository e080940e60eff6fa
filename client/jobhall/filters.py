"""Which jobs, batches, workers or the like a list names: keywords to filter text of the contract (after AIP-160)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, TypedDict, TypeVar, cast

from jobhall.errors import FieldInvalidError
from jobhall.misfits import tell_misfit
from jobhall.states import BatchState, FailureKind, JobState, WorkerState
from jobhall.statuses import StatusView, alternatives


class JobSelection(TypedDict, total=False):
    """Conditions on jobs; all that are given must hold."""

    namespace: str
    """Where; empty means `default`, `-` everywhere."""
    states: Iterable[JobState]
    status: StatusView | Iterable[StatusView]
    """In place of states: one or several of one view, as OperationStatus.FAILURE."""
    job_types: Iterable[str]
    owner: str
    labels: dict[str, str]
    path: str
    batch_id: str
    """The batch that it belongs to."""
    unique_key: str
    error_kind: FailureKind
    """How it, or its last attempt, failed."""
    error_code: str
    """The application's own code of that."""
    priority_min: int
    priority_max: int
    created_after: datetime
    """This moment or later."""
    created_before: datetime
    """Earlier than this moment."""
    updated_after: datetime
    """The same of its last change."""
    updated_before: datetime
    ended_after: datetime
    """The same of its end; jobs that have not ended do not match."""
    ended_before: datetime
    filter: str
    """More conditions, as filter text."""


class BatchSelection(TypedDict, total=False):
    """Conditions on batches; all that are given must hold."""

    namespace: str
    """Where; empty means `default`, `-` everywhere."""
    states: Iterable[BatchState]
    owner: str
    name: str
    active: bool
    closed: bool
    created_after: datetime
    """This moment or later."""
    created_before: datetime
    """Earlier than this moment."""
    filter: str
    """More conditions, as filter text."""


class TypeSelection(TypedDict, total=False):
    """Conditions on job types; all that are given must hold."""

    namespace: str
    """Whose, and those of `@global`; empty means `default`, `-` everywhere."""
    paused: bool
    filter: str
    """More conditions, as filter text."""
    order_by: str
    """`name` where it is left out, `name desc`, `create_time` or `create_time desc`."""


class WorkerSelection(TypedDict, total=False):
    """Conditions on workers; all that are given must hold."""

    namespace: str
    """Which serve it; empty means `default`, `-` any."""
    states: Iterable[WorkerState]
    job_types: Iterable[str]
    name: str
    labels: dict[str, str]
    filter: str
    """More conditions, as filter text."""


class ApiKeySelection(TypedDict, total=False):
    """Conditions on API keys; all that are given must hold."""

    name: str
    subject: str
    organization_id: str
    revoked: bool
    filter: str
    """More conditions, as filter text."""
    order_by: str
    """`create_time desc` where it is left out, `create_time` or `name`."""


class AuditSelection(TypedDict, total=False):
    """Conditions on entries of the audit; all that are given must hold."""

    subject: str
    method: str
    """`jobhall.v1.JobService/CancelJob`."""
    namespace: str
    resource_id: str
    code: str
    """`OK`, or gRPC's status code by name."""
    happened_after: datetime
    """This moment or later."""
    happened_before: datetime
    """Earlier than this moment."""
    filter: str
    """More conditions, as filter text."""
    order_by: str
    """`time desc` where it is left out, or `time`."""


T = TypeVar("T")
Options = TypeVar("Options", bound=Mapping[str, object])


def each(values: Iterable[T], *, field: str) -> list[T]:
    """The values; FIELD_INVALID of a text alone, whose letters they would be, and of what holds none."""
    if isinstance(values, str):
        raise FieldInvalidError(field, f"is the text {values!r}; give a list of texts")
    try:
        return list(values)
    except TypeError as error:
        tell_misfit(error, values, Iterable[Any], field=field)
        raise


def check_names(options: Mapping[str, object], kind: type[Mapping[str, object]]) -> None:
    """TypeError for a name that the TypedDict does not have: misspelt it would be no condition, and mean all jobs."""
    if unknown := options.keys() - kind.__annotations__.keys():
        raise TypeError(f"there is no argument {min(unknown)!r}; there are {', '.join(kind.__annotations__)}")


def settled(options: Options) -> Options:
    """The same for any number of calls: what can be gone through but once is kept."""
    kept = {name: list(value) if isinstance(value, Iterator) else value for name, value in options.items()}
    return cast("Options", kept)


def filter_text(selection: JobSelection) -> str:
    """The selection's conditions as filter text; FIELD_INVALID where that takes more than one."""
    first, *others = filter_texts(selection)
    if others:
        raise FieldInvalidError("status", f"takes {1 + len(others)} lists; list_jobs goes through them, a page cannot")
    return first


def filter_texts(selection: JobSelection) -> list[str]:
    """The same for any status: no job matches two of them."""
    if "status" not in selection:
        return [_filter_text(selection, _state_names(selection), selection.get("error_kind"))]
    if "states" in selection:
        raise FieldInvalidError("status", "stands for states; give one of the two")
    kind = selection.get("error_kind")
    asked = [it for it in alternatives(selection["status"]) if not kind or it.kind in (None, kind)]
    if not asked:
        raise FieldInvalidError("error_kind", "is of another status than the one that is asked for")
    return [_filter_text(selection, [it.name for it in sorted(one.states)], kind or one.kind) for one in asked]


def _filter_text(selection: JobSelection, states: list[str], kind: FailureKind | None) -> str:
    # The caller's own text comes first: an error says at which character it is wrong.
    return _joined(
        selection.get("filter", ""),
        _any_of("state", states),
        _any_of("job_type", [_quoted(name) for name in each(selection.get("job_types", ()), field="job_types")]),
        *_label_terms(selection.get("labels", {})),
        *_equal_terms(selection, "owner", "path", "batch_id", "unique_key"),
        f"error_kind = {kind.name}" if kind else "",
        *_equal_terms(selection, "error_code"),
        *_bound_terms(selection, "priority", "priority_min", "priority_max", upper="<="),
        *_bound_terms(selection, "create_time", "created_after", "created_before"),
        *_bound_terms(selection, "update_time", "updated_after", "updated_before"),
        *_bound_terms(selection, "end_time", "ended_after", "ended_before"),
    )


def batch_filter_text(selection: BatchSelection) -> str:
    """The same of batches."""
    return _joined(
        selection.get("filter", ""),
        _any_of("state", _state_names(selection)),
        *_equal_terms(selection, "owner", "name"),
        *_truth_terms(selection, "active", "closed"),
        *_bound_terms(selection, "create_time", "created_after", "created_before"),
    )


def type_filter_text(selection: TypeSelection) -> str:
    """The same of job types."""
    return _joined(selection.get("filter", ""), *_truth_terms(selection, "paused"))


def worker_filter_text(selection: WorkerSelection) -> str:
    """The same of workers."""
    return _joined(
        selection.get("filter", ""),
        _any_of("state", _state_names(selection)),
        _any_of("type", [_quoted(name) for name in each(selection.get("job_types", ()), field="job_types")]),
        *_label_terms(selection.get("labels", {})),
        *_equal_terms(selection, "name"),
    )


def api_key_filter_text(selection: ApiKeySelection) -> str:
    """The same of API keys."""
    return _joined(
        selection.get("filter", ""),
        *_equal_terms(selection, "name", "subject", "organization_id"),
        *_truth_terms(selection, "revoked"),
    )


def audit_filter_text(selection: AuditSelection) -> str:
    """The same of the audit."""
    return _joined(
        selection.get("filter", ""),
        *_equal_terms(selection, "subject", "method", "namespace", "resource_id", "code"),
        *_bound_terms(selection, "time", "happened_after", "happened_before"),
    )


def _joined(*terms: str) -> str:
    # The caller's own text goes in as it is: OR binds more closely than AND, so that nothing in it reaches beyond it.
    return " AND ".join(term for term in terms if term)


def _equal_terms(selection: Mapping[str, Any], *names: str) -> list[str]:
    return [f"{name} = {_quoted(selection[name])}" for name in names if selection.get(name)]


def _truth_terms(selection: Mapping[str, Any], *names: str) -> list[str]:
    return [f"{name} = {'true' if selection[name] else 'false'}" for name in names if name in selection]


def _bound_terms(
    selection: Mapping[str, Any], name: str, lower_key: str, upper_key: str, *, upper: str = "<"
) -> list[str]:
    bounds = ((">=", selection.get(lower_key)), (upper, selection.get(upper_key)))
    return [f"{name} {sign} {_bound(value)}" for sign, value in bounds if value is not None]


def _bound(value: datetime | int) -> str:
    return _moment(value) if isinstance(value, datetime) else str(value)


def _any_of(name: str, values: list[str]) -> str:
    text = " OR ".join(f"{name} = {value}" for value in values)
    return f"({text})" if len(values) > 1 else text


def _state_names(selection: Mapping[str, Any]) -> list[str]:
    """Of enum members, or names as a person writes them: the server knows which there are."""
    states = each(selection.get("states", ()), field="states")
    return [state if isinstance(state, str) else state.name for state in states]


def _label_terms(labels: dict[str, str]) -> list[str]:
    return [f"labels.{_label_key(key)} = {_quoted(value)}" for key, value in labels.items()]


def _label_key(key: str) -> str:
    return key if key.isidentifier() else _quoted(key)


def _moment(moment: datetime) -> str:
    return _quoted(moment.astimezone(UTC).isoformat().replace("+00:00", "Z"))


def _quoted(text: str) -> str:
    # A filter knows no other escapes: what JSON has for a line's end would be the letter n.
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
