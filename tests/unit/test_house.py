"""The rules of the house that no other tool checks: sizes, names, layers, pins, one version, nothing of one machine."""

import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import jobhall

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("client", "server", "tests", "examples", "bench", "scripts")
GENERATED = ROOT / "client" / "jobhall" / "v1"
SKIPPED = {"node_modules", "__pycache__"}
TEXT = {".py", ".md", ".toml", ".txt", ".proto", ".yaml", ".yml", ".js", ".json", ".csv", ".sh", ".mako", ".ini", ""}
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60
CONFTEST_LINES_MAX = 120
VAGUE_NAMES = {"util", "utils", "helper", "helpers", "common", "base", "manager", "misc"}


def test_files_are_small_enough_to_read_at_one_sitting() -> None:
    lines = {path: len(path.read_text().splitlines()) for path in modules()}

    too_long = {shown(path): count for path, count in lines.items() if count > FILE_LINES_MAX}
    assert not too_long
    assert not {shown(p): n for p, n in lines.items() if p.name == "conftest.py" and n > CONFTEST_LINES_MAX}


def test_functions_are_small_enough_to_see_at_once() -> None:
    too_long = {
        f"{shown(path)}:{node.lineno} {node.name}": size
        for path in modules()
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (size := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES_MAX
    }

    assert not too_long


def test_every_module_says_at_its_head_what_lives_there() -> None:
    silent = [shown(path) for path in modules() if path.read_text().strip() and not ast.get_docstring(parsed(path))]

    assert not silent


def test_no_file_hides_behind_a_vague_name() -> None:
    assert not [shown(path) for path in modules() if VAGUE_NAMES & set(path.stem.split("_"))]


def test_nothing_is_left_for_later() -> None:
    marks = re.compile("|".join(("TO" + "DO", "FIX" + "ME", "X" * 3)))

    assert not [shown(path) for path in texts() if path.suffix != ".csv" and marks.search(path.read_text())]


def test_tests_wait_for_conditions_and_never_sleep() -> None:
    """A line that must sleep, such as a handler under test, says so: `# sleeps: why`."""
    sleeping = [
        f"{shown(path)}:{node.lineno}"
        for path in modules()
        if path.is_relative_to(ROOT / "tests") and path.name != "waiting.py"
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"time.sleep", "asyncio.sleep"}
        if ast.unparse(node.args[0]) != "0" and "# sleeps: " not in path.read_text().splitlines()[node.lineno - 1]
    ]

    assert not sleeping


def test_tests_do_not_mock_our_own_code() -> None:
    mocking = re.compile(r"^\s*(?:from|import) (?:unittest\.mock|unittest import mock|mock)\b", re.MULTILINE)

    assert not [shown(path) for path in modules() if mocking.search(path.read_text())]


def test_no_file_names_a_place_that_only_one_machine_has() -> None:
    homes = re.compile(r"(?<![\w.:/-])/(?:home|Users|root)/")
    here = [f"{place}/" for place in (ROOT, Path.home()) if len(place.parts) > 1]

    found = [
        shown(path)
        for path in texts()
        if path != Path(__file__) and (homes.search(text := path.read_text()) or any(place in text for place in here))
    ]
    assert not found


def test_no_file_that_an_installer_reads_names_an_address() -> None:
    names = ("pyproject.toml", "constraints.txt", "Makefile", "Dockerfile", ".ci/run", "buf.yaml")
    files = [ROOT / name for name in names] + [path for path in texts() if path.name.startswith("package")]

    assert not [shown(path) for path in files if path.exists() and re.search(r"https?://", path.read_text())]


def test_the_layers_point_one_way() -> None:
    lint = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-logo"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert lint.returncode == 0, lint.stdout + lint.stderr


def test_the_version_stands_in_one_place() -> None:
    assert importlib.metadata.version("jobhall") == jobhall.__version__


def test_the_license_is_the_one_that_the_package_states() -> None:
    head = (ROOT / "LICENSE").read_text().split()[:5]

    assert head == ["Apache", "License", "Version", "2.0,", "January"]
    assert project()["project"]["license"] == "Apache-2.0"


def test_every_dependency_is_pinned_once_in_the_constraints() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    pins = [normal(line.split("==")[0]) for line in lines]

    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines)
    assert len(pins) == len(set(pins))
    assert {normal(name) for name in required()} <= set(pins)


def test_the_runtime_is_never_older_than_the_generator() -> None:
    """Generated code refuses a runtime older than its generator, so their versions move together."""
    floors = dict(re.findall(r"([\w-]+)>=([\d.]+)", " ".join(project()["project"]["dependencies"])))
    tools = dict(re.findall(r"([\w-]+)==([\d.]+)", " ".join(project()["dependency-groups"]["dev"])))

    assert floors["grpcio"] == floors["grpcio-status"] == tools["grpcio-tools"]
    for stub in GENERATED.glob("*_pb2.py"):
        gencode = re.search(r"Protobuf Python Version: ([\d.]+)", stub.read_text())
        assert gencode is not None
        assert gencode[1] == floors["protobuf"]


@pytest.mark.parametrize("target", ["setup", "protos", "check", "test", "system", "bench", "demo", "serve", "image"])
def test_make_help_lists(target: str) -> None:
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    assert re.search(rf"^{target} ", listed, re.MULTILINE)


def modules() -> Iterator[Path]:
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if not path.is_relative_to(GENERATED) and not SKIPPED & set(path.parts):
                yield path


def texts() -> Iterator[Path]:
    for folder in (*FOLDERS, "docs", "protos", ".ci"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_file() and path.suffix in TEXT and not SKIPPED & set(path.parts):
                yield path
    yield from (path for path in sorted(ROOT.iterdir()) if path.is_file() and path.suffix in TEXT)


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def required() -> set[str]:
    tables = project()
    groups = [tables["project"]["dependencies"], tables["dependency-groups"]["dev"]]
    groups += tables["project"]["optional-dependencies"].values()
    return {re.split(r"[\[=<>;]", line)[0] for group in groups for line in group}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
