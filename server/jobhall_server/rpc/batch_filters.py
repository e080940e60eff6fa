"""The filter and order of ListBatches as text → BatchFilter, BatchOrder; the language is in `filter_language.py`."""

from __future__ import annotations

from types import MappingProxyType

from jobhall.errors import FilterUnsupportedError
from jobhall.states import BatchState
from jobhall_server.hall.views import BatchFilter, BatchOrder
from jobhall_server.rpc.filter_language import Comparison, check_equals, conditions, fail, invalid, only_one, same
from jobhall_server.rpc.filters import Bounds, time_in

_STATES = {state.name: state for state in BatchState if state}
_ORDERS = MappingProxyType({order.value: order for order in BatchOrder})
_CHOICES = ("state", "owner")
_TEXTS = ("name", "active", "closed")
_FIELDS_TEXT = "state, owner, name, active, closed and create_time"
_FLAGS = MappingProxyType({"true": True, "false": False})


def parse_batch_filter(text: str, namespace: str | None) -> BatchFilter:
    """Which batches the caller means; errors as those of `parse_filter`."""
    choices: dict[str, frozenset[str]] = {}
    texts: dict[str, str] = {}
    created = Bounds()
    for alternatives in conditions(text):
        first = alternatives[0]
        if first.field == "create_time":
            only_one(alternatives, " and ".join(_CHOICES))
            if first.operator == "=":
                fail("compares create_time by =; use < and >=", first.at)
            created.take(first.operator, time_in(first))
            continue
        check_equals(alternatives)
        if first.field in _CHOICES:
            values = frozenset(map(_choice, alternatives))
            choices[first.field] = values & choices.get(first.field, values)
            if not choices[first.field]:
                fail(f"asks for two values of {first.field} at once, which no batch has", first.at)
        elif first.field in _TEXTS:
            only_one(alternatives, " and ".join(_CHOICES))
            texts[first.field] = same(texts.get(first.field), first._replace(value=_text(first)))
        else:
            fail(f"names {first.field[:80]!r}; fields are {_FIELDS_TEXT}", first.at)
    return BatchFilter(
        namespace=namespace,
        states=frozenset(_STATES[name] for name in choices.get("state", ())),
        owners=choices.get("owner", frozenset()),
        name=texts.get("name"),
        active=_FLAGS.get(texts.get("active", "")),
        closed=_FLAGS.get(texts.get("closed", "")),
        created_after=created.low,
        created_before=created.high,
    )


def parse_batch_order(text: str) -> BatchOrder:
    """The order that the caller asks for, the newest first where it is empty; FilterUnsupportedError."""
    order = _ORDERS.get(" ".join(text.split()) or BatchOrder.CREATED_DESC.value)
    if order is None:
        fault = f"{text[:80]!r} is no order of this list; it can be {', '.join(f'`{name}`' for name in _ORDERS)}"
        raise FilterUnsupportedError(fault, field="order_by")
    return order


def _choice(comparison: Comparison) -> str:
    if comparison.field != "state":
        return comparison.value
    name = comparison.value.upper()
    if name not in _STATES:
        invalid(f"{comparison.value[:80]!r} is no state of a batch; those are {', '.join(_STATES)}", comparison.at)
    return name


def _text(comparison: Comparison) -> str:
    if comparison.field == "name":
        return comparison.value
    if comparison.value.lower() not in _FLAGS:
        invalid(f"{comparison.value[:80]!r} is neither true nor false", comparison.at)
    return comparison.value.lower()
