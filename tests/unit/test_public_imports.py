"""What the SDK loads: its own modules, the standard library, and the four packages that pyproject names; no more."""

import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOUCH_EVERYTHING = """
import importlib, json, pkgutil, sys
# gRPC takes its siblings along where they are installed.
sys.modules |= dict.fromkeys(("grpc_tools", "grpc_health", "grpc_reflection"))
before = set(sys.modules)
import jobhall
{more}
print(json.dumps({{name: getattr(sys.modules[name], "__file__", None) for name in set(sys.modules) - before}}))
"""
ALL_NAMES = "[getattr(jobhall, name) for name in jobhall.__all__]"
ALL_MODULES = """
for found in pkgutil.walk_packages(jobhall.__path__, "jobhall."):
    if not found.name.startswith("jobhall.cli"):
        importlib.import_module(found.name)
"""


@pytest.mark.parametrize("more", ["", ALL_NAMES, ALL_MODULES], ids=["import jobhall", "every name", "every module"])
def test_the_sdk_loads_nothing_beyond_the_packages_that_it_depends_on(more: str) -> None:
    assert owners(TOUCH_EVERYTHING.format(more=more)) - {None, "jobhall"} <= allowed()


def test_a_module_of_another_package_would_be_seen() -> None:
    assert "pytest" in owners(TOUCH_EVERYTHING.format(more="import pytest")) - allowed()


@pytest.mark.parametrize("module", ["errors", "states", "limits"])
def test_the_words_need_no_grpc(module: str) -> None:
    assert owners(TOUCH_EVERYTHING.format(more="").replace("import jobhall", f"import jobhall.{module}")) - {None} == {
        "jobhall"
    }


def owners(script: str) -> set[str | None]:
    """The distributions whose modules the script loads in a fresh interpreter; None is Python's own."""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return {owner(name, file) for name, file in json.loads(done.stdout).items()}


def owner(module: str, file: str | None) -> str | None:
    if file is None or module.partition(".")[0] in sys.stdlib_module_names:
        return None
    if module.partition(".")[0] == "jobhall":
        return "jobhall"
    return files().get(str(Path(file).resolve()), module)


@cache
def files() -> dict[str, str]:
    """Which distribution each installed file is of; those in the namespace `google` are of several."""
    return {
        str(Path(str(distribution.locate_file(file))).resolve()): normal(distribution.name)
        for distribution in importlib.metadata.distributions()
        for file in distribution.files or ()
        if str(file).endswith((".py", ".so"))
    }


def allowed() -> set[str]:
    """What pyproject names, and what that needs in turn."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found: set[str] = set()
    waiting = [normal(it) for it in project["dependencies"]]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            required = importlib.metadata.distribution(name).requires or ()
            waiting += [normal(it) for it in required if "extra ==" not in it]
    return found


def normal(requirement: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", requirement, maxsplit=1)[0]).lower()
