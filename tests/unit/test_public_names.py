"""Every public name of the SDK says what it is and of which types: classes, functions, methods and properties."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from typing import Any

import pytest

import jobhall
from tests.support.public_methods import APIS

MODULES = ("jobhall", "jobhall.errors", "jobhall.queue", "jobhall.registry", "jobhall.reports")
"""What users import from."""


def public_names() -> dict[str, Any]:
    """The classes and functions of these modules and of the clients, by where they are, each once."""
    places = [(module, name) for module in map(importlib.import_module, MODULES) for name in exported(module)]
    found = {f"{module.__name__}.{name}": getattr(module, name) for module, name in places}
    found |= {f"client.{kind.__name__}": kind for kinds in APIS.values() for kind in kinds}
    return {place: it for place, it in found.items() if inspect.isclass(it) or inspect.isfunction(it)}


def exported(module: Any) -> list[str]:
    """What the module says that it exports, else what is its own there."""
    own = [name for name, it in vars(module).items() if getattr(it, "__module__", "").startswith("jobhall.")]
    return getattr(module, "__all__", None) or [name for name in own if not name.startswith("_")]


NAMES = public_names()


def test_all_that_is_exported_is_there() -> None:
    assert len(NAMES) > 130
    assert sorted(jobhall.__all__) == sorted(set(jobhall.__all__))
    assert [name for name in jobhall.__all__ if not hasattr(jobhall, name)] == []


@pytest.mark.parametrize("place", NAMES)
def test_a_public_name_says_what_it_is_and_of_which_types(place: str) -> None:
    assert wrong(place, NAMES[place]) == []


def test_a_name_without_a_word_or_a_type_would_be_seen() -> None:
    class Silent:
        def shout(self, words, *, volume: int = 3):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            """Says so."""

        @property
        def quiet(self) -> bool:
            return True

    assert wrong("Silent", Silent) == [
        "Silent has no docstring",
        "Silent.shout: words has no type",
        "Silent.shout: return has no type",
        "Silent.quiet has no docstring",
    ]


def wrong(place: str, found: Any) -> list[str]:
    """What the name, and each public member of a class of ours, does not say."""
    problems = [] if said(found) else [f"{place} has no docstring"]
    if not inspect.isclass(found):
        return [*problems, *untyped(place, found)]
    for name, member in members(found):
        if not inspect.getdoc(getattr(found, name)):
            problems.append(f"{place}.{name} has no docstring")
        problems += untyped(f"{place}.{name}", member)
    return problems


def said(found: Any) -> str:
    """Its own docstring, not that of a base class or the one that dataclass makes up."""
    text = vars(found).get("__doc__") if inspect.isclass(found) else found.__doc__
    return "" if (text or "").startswith(f"{found.__name__}(") else text or ""


def members(kind: type) -> Iterator[tuple[str, Any]]:
    """The functions behind the public methods and properties, its own and those of its bases of ours."""
    for base in kind.__mro__:
        if base.__module__.partition(".")[0] != kind.__module__.partition(".")[0]:
            continue
        for name, member in vars(base).items():
            inner = getattr(member, "fget", None) or getattr(member, "func", None) or getattr(member, "__func__", None)
            function = inner or member
            if inspect.isfunction(function) and not name.startswith("_"):
                yield name, function


def untyped(place: str, function: Any) -> Iterator[str]:
    """The parameters and the return value of a function that have no annotation."""
    signature = inspect.signature(function)
    for name, it in signature.parameters.items():
        if it.annotation is it.empty and name not in ("self", "cls"):
            yield f"{place}: {name} has no type"
    if signature.return_annotation is signature.empty:
        yield f"{place}: return has no type"
