"""The colours of states, outcomes and levels on a terminal."""

from __future__ import annotations

from enum import IntEnum

from rich.text import Text

from jobhall.cli.tables import cell_text

STYLES = {
    "RUNNING": "cyan",
    "CLAIMED": "cyan",
    "COMPLETED": "green",
    "FAILED": "red",
    "CANCELLED": "yellow",
    "CANCELLING": "yellow",
    "ATTACHED": "green",
    "DETACHED": "red",
    "DRAINING": "yellow",
    "PROCESSING": "cyan",
    "RELEASED": "yellow",
    "DEBUG": "dim",
    "WARNING": "yellow",
    "ERROR": "red",
    "CRITICAL": "bold red",
}
"""By name."""


def styled(value: IntEnum) -> Text:
    """Its name in its colour."""
    return Text(cell_text(value), style=STYLES.get(value.name, ""))
