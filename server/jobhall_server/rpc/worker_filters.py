"""The filter of ListWorkers as text → WorkerFilter; its language is in `filter_language.py`."""

from __future__ import annotations

from jobhall_server.hall.roster import WorkerFilter, WorkerState
from jobhall_server.rpc.filter_language import check_equals, conditions, fail, invalid, label_key, only_one, same

_STATES = {state.name: state for state in WorkerState}
_CHOICES_TEXT = "state and type"


def parse_worker_filter(text: str, namespace: str | None) -> WorkerFilter:
    """Which workers the caller means; errors as those of `parse_filter`."""
    states: set[WorkerState] | None = None
    types: set[str] | None = None
    name: str | None = None
    labels: dict[str, str] = {}
    for alternatives in conditions(text):
        check_equals(alternatives)
        first = alternatives[0]
        if first.field == "state":
            wanted = {_state(choice.value, choice.at) for choice in alternatives}
            states = wanted if states is None else states & wanted
        elif first.field == "type":
            named = {choice.value for choice in alternatives}
            types = named if types is None else types & named
        else:
            only_one(alternatives, _CHOICES_TEXT)
            if first.field == "name":
                name = same(name, first)
            elif (key := label_key(first)) is not None:
                labels[key] = same(labels.get(key), first)
            else:
                fail(f"names {first.field[:80]!r}; fields are state, type, name and labels.KEY", first.at)
    return WorkerFilter(
        namespace=namespace,
        states=None if states is None else frozenset(states),
        job_types=None if types is None else frozenset(types),
        name=name,
        labels=tuple(sorted(labels.items())),
    )


def _state(value: str, at: int) -> WorkerState:
    state = _STATES.get(value.upper())
    if state is None:
        invalid(f"{value[:80]!r} is no state of a worker; those are {', '.join(_STATES)}", at)
    return state
