"""The word for "leave it as it is", where None means "clear it"."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, Final


class Unchanged(Enum):
    """What an update says of a field that it does not name."""

    UNCHANGED = "unchanged"


UNCHANGED: Final = Unchanged.UNCHANGED
"""Leave the field as it is."""


def changes(**fields: tuple[Any, Callable[[Any], Any] | None]) -> dict[str, Any]:
    """What an update names: of the pairs of value and encoder those whose value is not UNCHANGED, encoded."""
    return {
        name: value if encode is None else encode(value)
        for name, (value, encode) in fields.items()
        if value is not UNCHANGED
    }
