"""Testing tools for users: a real server for each test, by the pytest fixture `jobhall`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jobhall_server.testing.clock import ServerClock
    from jobhall_server.testing.jobhall import Jobhall

__all__ = ["Jobhall", "ServerClock"]

# Pytest loads the plugin beside this for every project; what it needs comes with the first test that uses it.
_LAZY = {"Jobhall": "jobhall_server.testing.jobhall", "ServerClock": "jobhall_server.testing.clock"}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)
