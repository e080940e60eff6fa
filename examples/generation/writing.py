"""Writes an article about one entity from the annotations of a text, by templates; the same input, the same article."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from examples.detection.library import Annotation

TEMPLATES = Path(__file__).with_name("templates")
LANGUAGE_DEFAULT = "en"
_AROUND = 60
"""How much of the text is told on each side of a mention."""


class LanguageUnknownError(ValueError):
    """There are no templates for the language."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What an article is about, and all that is known of it."""

    source: str
    """The text that names it."""
    reference: Annotation
    annotations: Sequence[Annotation]
    """All of the text."""

    @property
    def mentions(self) -> list[Annotation]:
        """Where the text names it."""
        about = (self.reference.entity_type, self.reference.name)
        return [found for found in self.annotations if (found.entity_type, found.name) == about]

    def company(self, entity_types: Sequence[str] | None) -> Counter[str]:
        """What else the paragraphs that name it name, and how often."""
        about = {found.id for found in self.mentions}
        paragraphs = {_paragraph(self.source, found) for found in self.mentions}
        return Counter(
            found.name
            for found in self.annotations
            if found.id not in about
            and _paragraph(self.source, found) in paragraphs
            and (entity_types is None or found.entity_type in entity_types)
        )


class Templates:
    """The words of one language."""

    def __init__(self, language: str | None) -> None:
        known = sorted(path.stem for path in TEMPLATES.glob("*.toml"))
        language = language or LANGUAGE_DEFAULT
        if language not in known:
            raise LanguageUnknownError(f"there are no templates for {language!r}, only for {', '.join(known)}")
        self._words: dict[str, Any] = tomllib.loads((TEMPLATES / f"{language}.toml").read_text(encoding="utf-8"))

    def title(self, subject: Subject) -> str:
        """The title of an article that was given none."""
        return self._fill("title", name=subject.reference.name)

    def sections(self, subject: Subject, *, prompt: str | None, entity_types: Sequence[str] | None) -> Iterator[str]:
        """The article, a section after the other."""
        if prompt:
            yield self._fill("prompt", prompt=prompt)
        number = len(subject.mentions)
        yield self._fill(
            "introduction",
            name=subject.reference.name,
            kind=self._words["kinds"][subject.reference.entity_type],
            source=subject.source.partition("\n")[0],
            count=self._fill("times", number=number) if number > 1 else self._words["once"],
        )
        quotes = [_quote(subject.source, mention) for mention in subject.mentions]
        yield _listed(self._words["mentions"], quotes)
        company = sorted(subject.company(entity_types).items(), key=lambda counted: (-counted[1], counted[0]))
        names = [f"{name} ({count})" for name, count in company]
        yield _listed(self._words["company"], names or [self._words["nobody"]])
        yield self._fill("source", source_resource_id=subject.reference.resource_id, reference_id=subject.reference.id)

    def _fill(self, template: str, **values: object) -> str:
        filled: str = self._words[template].format(**values)
        return filled


def _paragraph(text: str, found: Annotation) -> int:
    return text.count("\n\n", 0, found.start)


def _quote(text: str, found: Annotation) -> str:
    """The mention between stars, with whole words of its paragraph around it."""
    begin, end = text.rfind("\n\n", 0, found.start) + 1, text.find("\n\n", found.end)
    before, after = text[begin : found.start], text[found.end : end if end > 0 else None]
    if len(before) > _AROUND:
        before = "… " + before[-_AROUND:].partition(" ")[2]
    if len(after) > _AROUND:
        after = after[:_AROUND].rpartition(" ")[0] + " …"
    return " ".join(f"{before}*{text[found.start : found.end]}*{after}".split())


def _listed(heading: str, lines: Sequence[str]) -> str:
    return "\n".join([heading, "-" * len(heading), *(f"- {line}" for line in lines)])
