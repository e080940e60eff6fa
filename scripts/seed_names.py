"""Reads the names out of a source document: identifiers of its code, fields of its entities, routes, practices."""

from __future__ import annotations

import re
from collections.abc import Iterator

_FENCE = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_STRING = re.compile(r"(?:\bf)?(?P<quote>[\"'`])(?P<content>(?:(?!(?P=quote))[^\\]|\\.)*)(?P=quote)")
_COMMENT = re.compile(r'""".*?"""|(?:^|(?<=\s))(?:#|//|--\s)[^\n]*', re.DOTALL)
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ONE_WORD = re.compile(r"[@\w.-]+")
_ROUTE = re.compile(r"^(?:[\d.\s*`-]*)(?P<verb>GET|PUT|POST|PATCH|DELETE)\s+(?P<path>/[^\s`*?]+)", re.MULTILINE)
_PRACTICE = re.compile(r"^\d+\. \*\*([^*\n]+)\*\*", re.MULTILINE)

_HEADING = re.compile(r"^#+ (?:\d+\. )?(?P<title>.+)$")
_BULLET = re.compile(r"^- `(?P<name>\w+)`")
_ROW = re.compile(r"^\| `(?P<name>\w+)` \| `")
_INTERFACE = re.compile(r"^interface (?P<name>\w+) \{")
_MEMBER = re.compile(r"^\s+(?P<name>\w+)\??: (?P<opens>\{)?")
_CLASS = re.compile(r"^class (?P<name>\w+)")
_ATTRIBUTE = re.compile(r"^    (?:(?:async )?def (?P<method>\w+)\(|(?P<name>\w+)(?:: | = ))")


def words(text: str) -> set[str]:
    """Every identifier in its code, the strings of one word among them, and every method and path of its routes."""
    code = [match.group(1) for match in _FENCE.finditer(text)]
    prose = _FENCE.sub("", text)
    spans = re.findall(r"`([^`\n]+)`", prose)
    found = {name for part in (*code, *spans) for name in _words_of_code(part)}
    routes = {f"{match['verb']} {match['path']}" for match in _ROUTE.finditer(text)}
    practices = {practice for practice in _PRACTICE.findall(prose) if not practice.startswith("`")}
    return found | routes | practices


def fields(text: str) -> set[str]:
    """What its entities have, as `Entity.field`, or deeper: from tables, lists, interfaces and classes."""
    found = set(_listed(_FENCE.sub("", text)))
    for match in _FENCE.finditer(text):
        found.update(_of_interfaces(match.group(1)))
        found.update(_of_classes(match.group(1)))
    return found


def _words_of_code(code: str) -> set[str]:
    found: set[str] = set()

    def take(match: re.Match[str]) -> str:
        content = match["content"]
        if _ONE_WORD.fullmatch(content):
            found.update(_WORD.findall(content))
        for inner in re.findall(r"\{([^{}]*)\}", content):
            found.update(_WORD.findall(_STRING.sub("", inner)))
        return " "

    bare = _COMMENT.sub(" ", _STRING.sub(take, re.sub(r'""".*?"""', " ", code, flags=re.DOTALL)))
    return found | set(_WORD.findall(bare))


def _listed(prose: str) -> Iterator[str]:
    """Lists and tables below a heading that is one word: the entity; `Values` and the like belong to the one before."""
    entity = ""
    for line in prose.splitlines():
        if match := _HEADING.match(line):
            title = match["title"].strip()
            if title not in {"Values", "Fields"}:
                entity = title if _WORD.fullmatch(title) else ""
        elif entity and (match := _BULLET.match(line) or _ROW.match(line)):
            yield f"{entity}.{match['name']}"


def _of_interfaces(code: str) -> Iterator[str]:
    path: list[str] = []
    for line in code.splitlines():
        if match := _INTERFACE.match(line):
            path = [match["name"]]
        elif path and (match := _MEMBER.match(line)):
            yield ".".join((*path, match["name"]))
            if match["opens"] and "}" not in line:
                path.append(match["name"])
        elif path and line.strip().startswith("}"):
            path.pop()


def _of_classes(code: str) -> Iterator[str]:
    entity = ""
    for line in code.splitlines():
        if match := _CLASS.match(line):
            entity = match["name"]
        elif line[:1].strip():
            entity = ""
        elif entity and (match := _ATTRIBUTE.match(line)):
            name = match["method"] or match["name"]
            if not name.startswith("_") or name.endswith("__"):
                yield f"{entity}.{name}"
