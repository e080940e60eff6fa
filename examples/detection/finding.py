"""Finds the names of persons, organisations and places in a text, by a gazetteer and by rules."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ENTITY_TYPES = ("Person", "Organization", "Place")
_NAMES = r"[A-Z][a-z]+(?:\s[A-Z][a-z]+)*"


@dataclass(frozen=True, slots=True)
class Rule:
    """Where an `entity` of a type stands; a `name` within it is what it is called, else all of it."""

    name: str
    entity_type: str
    pattern: re.Pattern[str]


RULES = (
    Rule("title", "Person", re.compile(rf"\b(?P<entity>(?:Mr|Mrs|Dr|Sir)\.?\s(?P<name>{_NAMES}))")),
    Rule("acquaintance", "Person", re.compile(rf"\b(?:young|said)\s(?P<entity>{_NAMES})")),
    Rule("apposition", "Person", re.compile(rf"\b(?P<entity>{_NAMES}),\smy\s[a-z]")),
    Rule("institution", "Organization", re.compile(rf"\b(?P<entity>(?:University|Bank)\sof\s{_NAMES})")),
    Rule("unit", "Organization", re.compile(rf"\b(?P<entity>{_NAMES}\s(?:Fusiliers|Regiment|Department))\b")),
    Rule("preposition", "Place", re.compile(rf"\b(?:in|at|to|battle\sof)\s(?P<entity>{_NAMES})")),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Find:
    """A stretch of text that may be an entity."""

    entity_type: str
    name: str
    start: int
    end: int
    found_by: str


@dataclass(frozen=True, slots=True)
class Findings:
    """What was found of one entity type; `kept` is without those that a better find of any type covers."""

    found: int
    kept: tuple[Find, ...]


class Gazetteer:
    """Known names with their spellings, by entity type."""

    def __init__(self, names: Mapping[str, Mapping[str, Sequence[str]]]) -> None:
        self._names = {
            (entity_type, spelling): name
            for entity_type, spellings in names.items()
            for name, each in spellings.items()
            for spelling in each
        }

    @classmethod
    def load(cls, path: Path) -> Gazetteer:
        """The gazetteer of a TOML file."""
        return cls(tomllib.loads(path.read_text(encoding="utf-8")))

    def name_of(self, entity_type: str, spelling: str) -> str:
        """What an entity is called that is spelled so; the spelling itself where nothing is known of it."""
        plain = " ".join(spelling.split())
        return self._names.get((entity_type, plain), plain)

    def finds(self, text: str) -> Iterator[Find]:
        """Every place where a known name stands."""
        for (entity_type, spelling), name in self._names.items():
            yield from _places(text, entity_type, spelling, name=name, found_by="gazetteer")


def find_entities(text: str, gazetteer: Gazetteer, entity_type: str) -> Findings:
    """The entities of one type, in the order of the text.

    All types are looked for: "London" is a place, but not in "University of London".
    """
    # The first line is the title, whose capitals say nothing.
    title_end = text.find("\n")
    finds = [*gazetteer.finds(text), *_finds_by_rules(text, gazetteer)]
    candidates = _distinct([find for find in finds if find.start > title_end])
    kept: list[Find] = []
    # The longest first; of the same length the gazetteer's, then in the order of the rules: sorting keeps that order.
    for find in sorted(candidates, key=lambda find: find.start - find.end):
        if all(find.end <= other.start or other.end <= find.start for other in kept):
            kept.append(find)
    return Findings(
        found=sum(find.entity_type == entity_type for find in candidates),
        kept=tuple(sorted((find for find in kept if find.entity_type == entity_type), key=lambda find: find.start)),
    )


def _finds_by_rules(text: str, gazetteer: Gazetteer) -> Iterator[Find]:
    """What the rules find; a name that a rule has found once is that name wherever it stands."""
    for rule in RULES:
        for match in rule.pattern.finditer(text):
            spelling = match.groupdict().get("name") or match["entity"]
            name = gazetteer.name_of(rule.entity_type, spelling)
            start, end = match.span("entity")
            yield Find(entity_type=rule.entity_type, name=name, start=start, end=end, found_by=rule.name)
            yield from _places(text, rule.entity_type, spelling, name=name, found_by=rule.name)


def _places(text: str, entity_type: str, spelling: str, *, name: str, found_by: str) -> Iterator[Find]:
    words = r"\s".join(re.escape(word) for word in spelling.split())
    for match in re.finditer(rf"\b{words}\b", text):
        yield Find(entity_type=entity_type, name=name, start=match.start(), end=match.end(), found_by=found_by)


def _distinct(finds: Sequence[Find]) -> list[Find]:
    first: dict[tuple[str, int, int], Find] = {}
    for find in finds:
        first.setdefault((find.entity_type, find.start, find.end), find)
    return [*first.values()]
