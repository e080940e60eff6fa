"""Finds the programs of others that some tests need, as `make test` fetched them."""

import os
import shutil
import sys
from pathlib import Path

import pytest

BIN = Path(sys.prefix) / "bin"


def available(name: str) -> Path | None:
    found = shutil.which(name, path=f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}")
    return Path(found) if found else None


def needed_tool(name: str) -> Path:
    """The program's path; without it the test is skipped and says so, or fails where `CI=true`."""
    if found := available(name):
        return found
    raise not_run(f"{name} is not here; `make tools` fetches it where it can")


def needed_folder(path: Path) -> Path:
    """The folder that `make tools` fills (a `node_modules`); without it as `needed_tool`."""
    if path.is_dir():
        return path
    raise not_run(f"{path.name} of {path.parent.name} is not here; `make tools` fetches it where it can")


def not_run(reason: str) -> BaseException:
    failing = os.environ.get("CI") == "true"
    return pytest.fail.Exception(reason) if failing else pytest.skip.Exception(reason, allow_module_level=True)
