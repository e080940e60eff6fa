"""Writes docs/coming-from.md from tests/seeds/inventory.toml; with `--check` proves both whole, fresh and shown."""

from __future__ import annotations

import argparse
import ast
import inspect
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from jobhall import (
    FailureKind,
    Job,
    JobError,
    JobState,
    OperationStatus,
    ProcessingStatus,
    QueueStatus,
    StatusView,
    TaskStatus,
    UploadStatus,
)
from scripts import seed_names

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "coming-from.md"
INVENTORY = ROOT / "tests" / "seeds" / "inventory.toml"
# The documents are not part of the project; where they lie beside it, the inventory is held against them.
DOCUMENTS = ROOT.parent / "shared" / "seeds"
KINDS = {
    "entities": "Entities",
    "fields": "Fields",
    "operations": "Operations",
    "statuses": "Statuses",
    "errors": "Errors",
    "settings": "Settings",
    "practices": "Practices and examples",
}

VIEWS: tuple[type[StatusView], ...] = (OperationStatus, UploadStatus, TaskStatus, QueueStatus, ProcessingStatus)
_OURS = re.compile(r"`((?:jobhall\w*|client|[A-Z]\w+)(?:\.\w+)+)")
_APIS = {
    "jobs": "JobsApi",
    "batches": "BatchesApi",
    "types": "JobTypesApi",
    "workers": "WorkersApi",
    "admin": "AdminApi",
}

HEAD = """\
# Coming from elsewhere

<!-- Generated from tests/seeds/inventory.toml by `python -m scripts.seeds`; do not edit. -->

Five descriptions of job systems stood at the beginning of jobhall. If you know one of them, here is what its words are
called here. Each line is shown by a test, which the inventory names.

`client` is a `jobhall.Client`; `jobhall.AsyncClient` has the same methods, to be awaited. `Job`, `JobType` and the
other classes are those of the package `jobhall`. Words in capitals are the states of a job, [drawn here](states.md).
Each of the five has statuses of its own for them. They read a job, `OperationStatus.of(job)`, and they name jobs in
lists and in the verbs on many jobs, `client.jobs.list_jobs(status=OperationStatus.FAILURE)`:
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One name of a document: what it is called here, and the test that shows it."""

    kind: str
    name: str
    ours: str
    test: str


@dataclass(frozen=True, slots=True)
class Seed:
    """One document, as the inventory has it."""

    key: str
    document: str
    title: str
    about: str
    entries: tuple[Entry, ...]
    aside: frozenset[str]
    """Words of its examples that name nothing of it: variables, other libraries, the language's own."""


def main() -> int:
    """Writes the page, or with `--check` compares it; the exit code tells whether all is well."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="check the inventory, compare the committed page")
    check = parser.parse_args().check
    seeds = read_inventory()
    faults = [fault for seed in seeds for fault in faults_of(seed)]
    if not check:
        PAGE.write_text(page(seeds), encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page(seeds):
        faults.append("docs/coming-from.md does not match the inventory: run `python -m scripts.seeds`")
    if not DOCUMENTS.is_dir():
        print("the five documents are not beside the project: the inventory was not held against them")
    print(*faults, sep="\n", end="\n" if faults else "", file=sys.stderr)
    return 1 if faults else 0


def read_inventory() -> list[Seed]:
    """The inventory, a seed after the other."""
    with INVENTORY.open("rb") as file:
        return [_seed(key, table) for key, table in tomllib.load(file).items()]


def faults_of(seed: Seed) -> Iterator[str]:
    """What is wrong with the inventory of one document: names that are missing or made up, tests that are not there."""
    for entry in seed.entries:
        if not _test_exists(entry.test):
            yield f"{seed.key}: {entry.name}: there is no test {entry.test}"
        for name in _OURS.findall(entry.ours):
            if not _resolves(_in_full(name)):
                yield f"{seed.key}: {entry.name}: there is no {name}"
    path = DOCUMENTS / seed.document
    if path.exists():
        yield from compared(seed, path.read_text(encoding="utf-8"))


def compared(seed: Seed, text: str) -> Iterator[str]:
    """Where the inventory and the document differ."""
    listed = {entry.name for entry in seed.entries}
    known = {part for name in listed for part in (name, *name.split("."))}
    found = seed_names.words(text)
    for name in sorted(seed_names.fields(text) - listed):
        yield f"{seed.key}: the field {name} is not listed"
    for name in sorted(found - known - seed.aside):
        yield f"{seed.key}: {name!r} is neither listed nor set aside"
    for name in sorted(seed.aside - found):
        yield f"{seed.key}: {name!r} is set aside, and the document does not have it"
    for name in sorted(listed):
        if not all(part in found or part in text for part in (name, *name.split("."))[-1:]):
            yield f"{seed.key}: {name!r} is listed, and the document does not have it"


def page(seeds: list[Seed]) -> str:
    """The whole page, as it stands in docs/."""
    lines = [HEAD, *_statuses(), ""]
    for seed in seeds:
        lines += [f"## {seed.title}", "", seed.about.strip(), ""]
        for kind, title in KINDS.items():
            rows = [f"| {_code(entry.name)} | {entry.ours} |" for entry in seed.entries if entry.kind == kind]
            if rows:
                lines += [f"| {title.lower()} there | here |", "|---|---|", *rows, ""]
    return "\n".join(lines)


def _statuses() -> Iterator[str]:
    """The table of what each view calls each state; FAILED has two rows, since one view tells its kinds apart."""
    yield f"| state | {' | '.join(f'`{view.__name__}`' for view in VIEWS)} |"
    yield f"|{'---|' * (len(VIEWS) + 1)}"
    for state in filter(None, JobState):
        kinds = {"by its own code": FailureKind.APPLICATION, "otherwise": FailureKind.TIMEOUT}
        for how, kind in kinds.items() if state is JobState.FAILED else [("", FailureKind.UNSPECIFIED)]:
            job = Job(id="", namespace="", job_type="", state=state, error=JobError(kind=kind))
            yield f"| {state.name} {how}".rstrip() + f" | {' | '.join(view.of(job) for view in VIEWS)} |"


def _seed(key: str, table: dict[str, Any]) -> Seed:
    if unknown := table.keys() - KINDS.keys() - {"document", "title", "about", "aside"}:
        raise SystemExit(f"{INVENTORY.name}: {key}: there is no kind {min(unknown)!r}; there are {', '.join(KINDS)}")
    entries = tuple(Entry(kind, name, *pair) for kind in KINDS for name, pair in table.get(kind, {}).items())
    return Seed(key, table["document"], table["title"], table["about"], entries, frozenset(table["aside"].split()))


def _code(name: str) -> str:
    return name if " " in name and "/" not in name else f"`{name}`"


def _test_exists(test: str) -> bool:
    path, _, name = test.partition("::")
    return name in _functions(ROOT / "tests" / path)


@cache
def _functions(path: Path) -> frozenset[str]:
    if not path.is_file():
        return frozenset()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, kinds) and node.name.startswith("test_"))


def _in_full(name: str) -> str:
    """`client.jobs.submit` and `Job.id` are names of ours too, as a program has them after its import."""
    first, *rest = name.split(".")
    if first == "client":
        return ".".join(("jobhall", "client", _APIS.get(rest[0], rest[0]), *rest[1:]))
    return name if first.startswith("jobhall") else f"jobhall.{name}"


def _resolves(name: str) -> bool:
    """Whether that is a module, or something in one; attributes of instances are fields, or annotated."""
    parts = name.split(".")
    for depth in range(len(parts), 0, -1):
        try:
            found: Any = import_module(".".join(parts[:depth]))
        except ModuleNotFoundError:
            continue
        return _has(found, parts[depth:])
    return False


def _has(owner: Any, path: list[str]) -> bool:
    if not path:
        return True
    name, *rest = path
    if hasattr(owner, name):
        return _has(getattr(owner, name), rest)
    if not inspect.isclass(owner):
        return False
    named = {field.name for field in fields(owner)} if is_dataclass(owner) else set()
    return name in named or any(name in vars(kind).get("__annotations__", {}) for kind in owner.__mro__)


if __name__ == "__main__":
    sys.exit(main())
