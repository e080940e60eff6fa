"""A JSON Schema as a graph of its parts, and how much work it is to check a value against it, counted before it is done.

Whoever registers a schema is not trusted, and neither is who submits: a small schema can ask for work that doubles with
each level (`$defs` that name the next one twice, `unevaluatedProperties` over `anyOf`), and the validator, once begun,
cannot be stopped. So its work is counted first, exactly as if it never stopped early: how often each part is looked at
for each value. Where that is far more than any honest use needs, the value is refused instead. Measured: a look costs
5 to 10 ns, comparing with an object in `enum` 150 ns, a character under the worst linear-time pattern of 60 characters
220 ns; so 10 million units take a third of a second at the very worst, and an honest payload of 1 MiB has one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import unquote

Json = Any
"""What orjson reads: the schema's author decides what is in it."""

IN_PLACE_MAX = 64
"""Parts that are looked at for one value, each because the one before says so; deeper ones could overflow the stack."""
PARTS_MAX = 4096
PATTERNS_MAX = 100
VALUE_DEPTH_MAX = 128
"""Levels of a value; times IN_PLACE_MAX it is what the validator's stack was seen to bear."""
_STATES_KEPT_SIZE = 200_000

_ONE = ("not", "if", "then", "else")
_LISTS = ("allOf", "anyOf", "oneOf")
_MAPS = ("dependentSchemas", "dependencies")
_DEFINITIONS = ("$defs", "definitions")


class SchemaError(Exception):
    """What is wrong with a schema, and where in it."""

    def __init__(self, pointer: str, what: str) -> None:
        super().__init__(f"{what} (at {pointer or 'its root'})")


@dataclass(eq=False, slots=True)
class Part:
    """One subschema: what it does itself, and which others it looks at, for the value itself and for those within."""

    pointer: str
    looks: int = 1
    per_character: int = 0
    """Of a string: each of its characters costs so much, since there is a pattern."""
    per_name_character: int = 0
    unique: int = 0
    twice: bool = False
    """`unevaluated...` asks once more which of the in-place parts hold."""
    in_place: list[Part] = field(default_factory=list)
    named: dict[str, Part] = field(default_factory=dict)
    other_names: list[Part] = field(default_factory=list)
    every_name: list[Part] = field(default_factory=list)
    first: list[Part] = field(default_factory=list)
    rest: list[Part] = field(default_factory=list)
    every_item: list[Part] = field(default_factory=list)
    rank: int = 0
    """Greater than that of every part which it looks at in place."""


class Effort(NamedTuple):
    """What checking one value takes: `units` of about ten nanoseconds, `looks` each of which may end in an error, the
    looks at values at each depth added up (`layers`), and the depth; None of them where it is too much to count.
    """

    units: int
    looks: int
    layers: int
    depth: int


class _State:
    """Which parts look at a value, and how often each."""

    __slots__ = ("counts", "items", "looks", "names", "per_character", "per_name_character", "size", "unique", "units")

    def __init__(self, counts: dict[Part, int]) -> None:
        self.counts = counts
        self.size = len(counts)
        self.looks = sum(counts.values())
        self.units = sum(part.looks * count for part, count in counts.items())
        self.per_character = sum(part.per_character * count for part, count in counts.items())
        self.per_name_character = sum(part.per_name_character * count for part, count in counts.items())
        self.unique = sum(part.unique * count for part, count in counts.items())
        self.names: dict[str, _State] = {}
        self.items: dict[int, _State] = {}


class Graph:
    """The parts of one schema that passed the meta-schema; SchemaError says why it cannot be taken all the same."""

    def __init__(self, schema: Json) -> None:
        self._document = schema
        self._parts: dict[str, Part] = {}
        self._anchors: dict[str, str] = {}
        self._patterns = 0
        self._states: dict[frozenset[tuple[Part, int]], _State] = {}
        self._states_size = 0
        self._find_anchors()
        self.root = self._part("")
        self.chain = 0
        """The longest row of parts that look at one value because of one another."""
        self._rank()

    def effort(self, value: Json, *, units_max: int) -> Effort | None:
        """The work of checking the value; None when it is more than `units_max`, or the value is too deep."""
        state = self._state({self.root: 1})
        layer: list[tuple[_State, Json]] = [(state, value)]
        seen: set[_State] = set()
        units = looks = layers = depth = 0
        while layer:
            depth += 1
            if depth > VALUE_DEPTH_MAX:
                return None
            below: list[tuple[_State, Json]] = []
            unique = most = 0
            for state, inner in layer:
                if state not in seen:
                    seen.add(state)
                    units += 50 * state.size  # What it takes to find out, the first time.
                units += state.units
                looks += state.looks
                most, unique = max(most, state.looks), max(unique, state.unique)
                if isinstance(inner, dict):
                    units += len(inner) + state.per_name_character * sum(map(len, inner))
                    below += [(self._named(state, name), child) for name, child in inner.items()]
                elif isinstance(inner, list):
                    below += self._items(state, inner)
                elif isinstance(inner, str):
                    units += state.per_character * len(inner)
                if units > units_max:
                    return None
            layers += most
            units += unique * 5 * len(below)
            layer = below
        return None if units > units_max else Effort(units, looks, layers, depth)

    # --- the parts ---

    def _part(self, pointer: str) -> Part:
        known = self._parts.get(pointer)
        if known is None:
            if len(self._parts) >= PARTS_MAX:
                raise SchemaError(pointer, f"it has more than {PARTS_MAX} subschemas")
            known = self._parts[pointer] = Part(pointer)
            schema = self._resolve(pointer)
            if isinstance(schema, dict):
                self._read(known, schema)
            elif not isinstance(schema, bool):
                raise SchemaError(pointer, "it is named by a $ref, and is no schema")
        return known
