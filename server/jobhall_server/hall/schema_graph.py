"""A JSON Schema as a graph of its parts: which of them look at one value, and which at the values inside it.

It says no to what no validator should be given: references out of the schema, parts that lead back to themselves
without going into the value, and rows of parts so long that they could overflow a stack.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

Json = Any
"""What orjson reads: its author decides what is in it."""

CHAIN_MAX = 64
"""Parts that look at one value because of one another."""
PARTS_MAX = 4096
PATTERNS_MAX = 100
_REPEATED = re.compile(r"\{(\d+)(?:,(\d*))?\}")
_ONE_IN_PLACE = ("not", "if", "then", "else")
_LIST_IN_PLACE = ("allOf", "anyOf", "oneOf")
_MAP_IN_PLACE = ("dependentSchemas", "dependencies")
_REFERENCES = ("$ref", "$dynamicRef")
_OLDER = ("$recursiveRef", "$recursiveAnchor")


class SchemaError(Exception):
    """What is wrong with a schema, and where in it: a JSON pointer."""

    def __init__(self, pointer: str, what: str) -> None:
        super().__init__(f"at {pointer}: {what}" if pointer else what)


@dataclass(eq=False, slots=True)
class Part:
    """One subschema: which others it looks at, for the value itself and for those within, and what it costs beside."""

    pointer: str
    units: int = 1
    per_character: int = 0
    """Of a string, since there is a pattern."""
    per_name_character: int = 0
    """Of an object's keys, the same."""
    unique: bool = False
    twice: bool = False
    """`unevaluated…` asks a second time which of the parts in place hold."""
    in_place: list[Part] = field(default_factory=list)
    sure: list[Part] = field(default_factory=list)
    """Those of them that must hold."""
    named: dict[str, Part] = field(default_factory=dict)
    other_names: list[Part] = field(default_factory=list)
    every_name: list[Part] = field(default_factory=list)
    names: list[Part] = field(default_factory=list)
    """For the keys themselves."""
    first: list[Part] = field(default_factory=list)
    rest: list[Part] = field(default_factory=list)
    every_item: list[Part] = field(default_factory=list)
    chain: int = 0
    """How long the longest row of parts is that look in place because of this one."""


class Graph:
    """The parts of a schema; SchemaError says why it cannot be taken. `conforms` raises it for what the meta-schema
    does not allow: of the document, and of whatever else a reference makes a schema.
    """

    def __init__(self, document: Json, conforms: Callable[[str, Json], None]) -> None:
        self._conforms = conforms
        self._document = document
        self._parts: dict[str, Part] = {}
        self._unread: list[tuple[Part, Json]] = []
        self._anchors: dict[str, Part] = {}
        self._references: list[tuple[Part, str]] = []
        self.patterns = 0
        """How many there are."""
        conforms("", document)
        self.root = self._part("", document)
        self._read_all()
        self._link()
        self._order()
        self.chain = max(part.chain for part in self._parts.values())
        """The longest row of parts that look at one value because of one another."""

    def within(self, part: Part, value: Json) -> Iterator[tuple[str | int, Part, Json]]:
        """The values inside for which the part, or what it refers to, names a subschema that must hold."""
        sure = [part]
        for holder in sure:
            sure += [other for other in holder.sure if other not in sure]
            if isinstance(value, dict):
                for name, child in holder.named.items():
                    if name in value:
                        yield name, child, value[name]
            elif isinstance(value, list):
                for place, inner in enumerate(value):
                    for child in holder.first[place : place + 1] or holder.rest:
                        yield place, child, inner

    # --- reading the schema ---

    def _part(self, pointer: str, schema: Json) -> Part:
        part = self._parts.get(pointer)
        if part is None:
            if len(self._parts) >= PARTS_MAX:
                raise SchemaError("", f"has more than {PARTS_MAX} subschemas")
            part = self._parts[pointer] = Part(pointer)
            self._unread.append((part, schema))
        return part

    def _read_all(self) -> None:
        while self._unread:
            part, schema = self._unread.pop()
            if isinstance(schema, dict):
                self._read(part, schema)
            elif not isinstance(schema, bool):
                raise SchemaError(part.pointer, "a reference leads here, and this is no schema")

    def _read(self, part: Part, schema: dict[str, Json]) -> None:
        self._check_words(part, schema)
        within = _Within(self._part, part.pointer, schema)
        part.sure = within.list("allOf")
        part.in_place = [child for name in _LIST_IN_PLACE[1:] for child in within.list(name)] + part.sure
        part.in_place += [child for name in _ONE_IN_PLACE for child in within.one(name)]
        part.in_place += [child for name in _MAP_IN_PLACE for child in within.map(name).values()]
        part.named = within.map("properties")
        part.every_name = list(within.map("patternProperties").values())
        part.other_names = within.one("additionalProperties") + within.one("unevaluatedProperties")
        part.names = within.one("propertyNames")
        part.first = within.list("prefixItems")
        part.rest = within.one("items")
        part.every_item = within.one("contains") + within.one("unevaluatedItems")
        _ = within.map("$defs"), within.map("definitions")
        part.twice = bool(schema.keys() & {"unevaluatedProperties", "unevaluatedItems"})
        part.unique = schema.get("uniqueItems") is True
        part.units = _own_units(schema)
        part.per_character = self._pattern_units([schema["pattern"]] if "pattern" in schema else [])
        part.per_name_character = self._pattern_units(schema.get("patternProperties", ()))
        for name in _REFERENCES:
            if name in schema:
                self._references.append((part, schema[name]))

    def _check_words(self, part: Part, schema: dict[str, Json]) -> None:
        if part.pointer and "$id" in schema:
            raise SchemaError(part.pointer, "only the whole schema may have an $id; write `#/$defs/…`")
        if older := next((name for name in _OLDER if name in schema), None):
            raise SchemaError(part.pointer, f"{older} is of an older draft; use $ref, or $dynamicRef")
        for name in ("$anchor", "$dynamicAnchor"):
            if name in schema and self._anchors.setdefault(schema[name], part) is not part:
                raise SchemaError(part.pointer, f"the anchor {schema[name][:80]!r} is there twice")

    def _pattern_units(self, patterns: Iterable[str]) -> int:
        units = 0
        for pattern in patterns:
            self.patterns += 1
            states = len(pattern)
            for low, high in _REPEATED.findall(pattern):
                states *= max(1, min(int((high or low)[:6]), 10_000))
            units += 1 + states // 16
        if self.patterns > PATTERNS_MAX:
            raise SchemaError("", f"has more than {PATTERNS_MAX} patterns")
        return units

    def _link(self) -> None:
        """Follow the references; what they lead to may bring more."""
        while self._references:
            part, reference = self._references.pop()
            target = self._target(part, reference)
            self._read_all()
            part.in_place.append(target)
            part.sure.append(target)

    def _target(self, part: Part, reference: str) -> Part:
        if not reference.startswith("#"):
            raise SchemaError(part.pointer, f"{reference[:80]!r} is elsewhere; a reference must begin with `#`")
        pointer = unquote(reference[1:])
        if pointer and not pointer.startswith("/"):
            if (anchor := self._anchors.get(pointer)) is None:
                raise SchemaError(part.pointer, f"there is no anchor {pointer[:80]!r}")
            return anchor
        found = self._document
        for step in _steps(pointer):
            if isinstance(found, dict) and step in found:
                found = found[step]
            elif isinstance(found, list) and step.isdecimal() and int(step[:9]) < len(found):
                found = found[int(step[:9])]
            else:
                raise SchemaError(part.pointer, f"{reference[:80]!r} leads nowhere")
        if pointer not in self._parts:
            self._conforms(pointer, found)
        return self._part(pointer, found)

    def _order(self) -> None:
        """How long the rows of parts in place are, from their ends; a part that is left over leads to itself."""
        parents: dict[Part, list[Part]] = defaultdict(list)
        open_ends = {part: len(part.in_place) for part in self._parts.values()}
        for part in self._parts.values():
            for child in part.in_place:
                parents[child].append(part)
        done = [part for part, count in open_ends.items() if not count]
        while done:
            part = done.pop()
            part.chain = 1 + max((child.chain for child in part.in_place), default=0)
            if part.chain > CHAIN_MAX:
                raise SchemaError(part.pointer, f"more than {CHAIN_MAX} subschemas in a row look at the same value")
            del open_ends[part]
            for parent in parents[part]:
                open_ends[parent] -= 1
                if not open_ends[parent]:
                    done.append(parent)
        if open_ends:
            where = min(open_ends, key=lambda part: part.pointer).pointer
            raise SchemaError(where, "leads back to itself without going into the value")


class _Within:
    """The subschemas that one names by its keywords."""

    def __init__(self, part: Callable[[str, Json], Part], pointer: str, schema: dict[str, Json]) -> None:
        self._part_at = part
        self._pointer = pointer
        self._schema = schema

    def one(self, keyword: str) -> list[Part]:
        """A keyword's own one, if it is there."""
        return [self._part(self._schema[keyword], keyword)] if keyword in self._schema else []

    def list(self, keyword: str) -> list[Part]:
        """Those in a keyword's list."""
        return [self._part(schema, keyword, str(place)) for place, schema in enumerate(self._schema.get(keyword, ()))]

    def map(self, keyword: str) -> dict[str, Part]:
        """Those of a keyword by name; `dependencies` may have lists of names beside them."""
        found = self._schema.get(keyword, {})
        return {name: self._part(found[name], keyword, name) for name in found if not isinstance(found[name], list)}

    def _part(self, schema: Json, *steps: str) -> Part:
        return self._part_at(self._pointer + pointer_of(steps), schema)


def pointer_of(steps: Iterable[str | int]) -> str:
    """The JSON pointer of those steps."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in steps)


def _steps(pointer: str) -> list[str]:
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]


def _own_units(schema: dict[str, Json]) -> int:
    """What a subschema costs at each look beside what it names: comparisons, and names to be found."""
    units = 1 + len(schema.get("required", ())) + len(schema.get("properties", ()))
    units += sum(map(len, schema.get("dependentRequired", {}).values()))
    options = schema.get("enum", ())
    if any(isinstance(option, (dict, list)) for option in options):
        units += 15 * len(options)
    return units
