"""How much work it is to check a value against a JSON Schema, counted before it is done.

Nobody who registers a schema or submits a value is trusted. A small schema can ask for work that doubles with each
level: `$defs` that name the next one twice, `unevaluatedProperties` over `anyOf`. And the validator, once begun, cannot
be stopped. So its work is counted as if it never stopped early: how often each part of the schema looks at each value.
What is far beyond honest use is refused instead. Measured: a look takes 5 to 10 ns, a comparison with an object in
`enum` 150 ns, a character under the worst linear-time pattern of 60 characters 220 ns.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from jobhall_server.hall.schema_graph import Graph, Json, Part

VALUE_DEPTH_MAX = 128
"""Levels of a value. With the longest row of parts at each of them the validator still has most of its stack."""
_STATES_SIZE_MAX = 200_000
_KINDS_MAX = 1000
_UNITS_PER_PART = 50
"""What it takes to find out which parts look at a kind of value, the first time."""
_UNITS_PER_COMPARED = 5
"""By `uniqueItems`."""


class Effort(NamedTuple):
    """What checking a value takes: units of about ten nanoseconds; looks, each of which may end in an error; the most
    looks at one value of each level, added up; and the levels.
    """

    units: int
    looks: int
    layers: int
    depth: int


class _State:
    """Which parts look at a value, and how often each; with the states of the values inside, as they were met."""

    def __init__(self, counts: dict[Part, int]) -> None:
        self.counts = counts
        self.looks = sum(counts.values())
        self.units = sum(part.units * count for part, count in counts.items())
        self.per_character = sum(part.per_character * count for part, count in counts.items())
        self.per_name_character = sum(part.per_name_character * count for part, count in counts.items())
        self.unique = sum(count for part, count in counts.items() if part.unique)
        self.names = frozenset(name for part in counts for name in part.named)
        self.places = max((len(part.first) for part in counts), default=0)
        self.checks_keys = any(part.names for part in counts)
        self.named: dict[str | None, _State] = {}
        self.items: dict[int, _State] = {}
        self.keys: _State | None = None


class Efforts:
    """Counts the work of a schema for one value after another; remembers the kinds of values that it met."""

    def __init__(self, graph: Graph) -> None:
        self._root = graph.root
        self._states: dict[frozenset[tuple[Part, int]], _State] = {}
        self._size = 0
        self._kinds = self._kinds_of_values()

    def surely_within(self, units_max: int, *, size: int) -> bool:
        """Whether any JSON of so many characters takes no more than that, without looking at it. Not where the schema
        goes into values of any depth.
        """
        kinds = self._kinds
        if kinds is None or any(state.unique for state in kinds):
            return False
        per_value = 1 + max(state.units for state in kinds)
        per_character = max(max(state.per_character, state.per_name_character) for state in kinds)
        first = _UNITS_PER_PART * sum(len(state.counts) for state in kinds)
        return first + per_value * (size // 2 + 1) + per_character * size <= units_max

    def of(self, value: Json, *, units_max: int, root: Part | None = None) -> Effort | None:
        """The work of checking the value; None when it is more than that, or the value has too many levels."""
        if self._size > _STATES_SIZE_MAX:
            self._states.clear()
            self._size = 0
        layer = [(self._state({root or self._root: 1}), value)]
        units = looks = layers = depth = compared = 0
        met: set[_State] = set()
        while layer:
            depth += 1
            units += _UNITS_PER_COMPARED * compared * len(layer)
            below: list[tuple[_State, Json]] = []
            most = unique = 0
            for state, inner in layer:
                if state not in met:
                    met.add(state)
                    units += _UNITS_PER_PART * len(state.counts)
                units += state.units + _own_units(state, inner)
                looks += state.looks
                most, unique = max(most, state.looks), max(unique, state.unique)
                if units > units_max or depth > VALUE_DEPTH_MAX:
                    return None
                below += self._inside(state, inner)
            layers += most
            compared += unique  # Whole: all that is inside is gone through once more.
            layer = below
        return Effort(units, looks, layers, depth)

    def _kinds_of_values(self) -> set[_State] | None:
        """All states that there can be, of a schema that looks into values only so deep."""
        kinds: set[_State] = set()
        layer = {self._state({self._root: 1})}
        for _ in range(VALUE_DEPTH_MAX):
            kinds |= layer
            if len(kinds) > _KINDS_MAX or self._size > _STATES_SIZE_MAX // 10:
                return None
            layer = {below for state in layer for below in self._below(state) if below.counts}
            if not layer:
                return kinds
        return None

    def _below(self, state: _State) -> Iterator[_State]:
        yield self._keys(state)
        yield self._named(state, None)
        yield from (self._named(state, name) for name in state.names)
        yield from (self._item(state, place) for place in range(state.places + 1))

    def _inside(self, state: _State, value: Json) -> Iterator[tuple[_State, Json]]:
        if isinstance(value, dict):
            if state.checks_keys:
                keys = self._keys(state)
                yield from ((keys, name) for name in value)
            for name, child in value.items():
                yield state.named.get(name) or self._named(state, name), child
        elif isinstance(value, list):
            for place, child in enumerate(value[: state.places]):
                yield self._item(state, place), child
            rest = self._item(state, state.places)
            for child in value[state.places :]:
                yield rest, child

    def _named(self, state: _State, name: str | None) -> _State:
        """Of an object's value of that name; all names that no part knows have one."""
        known = name if name in state.names else None
        if known not in state.named:
            counts: Counter[Part] = Counter()
            for part, count in state.counts.items():
                own = part.named.get(known) if known is not None else None
                for child in (*((own,) if own is not None else part.other_names), *part.every_name):
                    counts[child] += count
            state.named[known] = self._state(counts)
        return state.named[known]

    def _item(self, state: _State, place: int) -> _State:
        """Of an array's value at that place; all beyond those that have a part of their own have one."""
        if place not in state.items:
            counts: Counter[Part] = Counter()
            for part, count in state.counts.items():
                for child in (*(part.first[place : place + 1] or part.rest), *part.every_item):
                    counts[child] += count
            state.items[place] = self._state(counts)
        return state.items[place]

    def _keys(self, state: _State) -> _State:
        if state.keys is None:
            counts: Counter[Part] = Counter()
            for part, count in state.counts.items():
                for child in part.names:
                    counts[child] += count
            state.keys = self._state(counts)
        return state.keys

    def _state(self, counts: dict[Part, int]) -> _State:
        """Those, with all that look in place because of them: a part before those that it names."""
        reached, new = set(counts), list(counts)
        while new:
            new = list({child for part in new for child in part.in_place} - reached)
            reached.update(new)
        whole = defaultdict(int, counts)
        for part in sorted(reached, key=lambda part: -part.chain):
            for child in part.in_place:
                whole[child] += whole[part] * (2 if part.twice else 1)
        key = frozenset(whole.items())
        if key not in self._states:
            self._states[key] = _State(dict(whole))
            self._size += len(whole) + 1
        return self._states[key]


def _own_units(state: _State, value: Json) -> int:
    if isinstance(value, dict):
        names = state.per_name_character * sum(map(len, value)) if state.per_name_character else 0
        return len(value) + names
    return state.per_character * len(value) if state.per_character and isinstance(value, str) else 0
