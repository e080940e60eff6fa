"""Generates the Python stubs of the contract; with `--check` proves the committed ones fresh and lints the contract."""

from __future__ import annotations

import argparse
import filecmp
import shutil
import subprocess
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
PACKAGE = Path("jobhall/v1")
COMMITTED = ROOT / "client" / PACKAGE
PACKAGE_DOC = '"""Generated from `protos/jobhall/v1` by `make protos`; never edited by hand."""\n'


def main() -> int:
    """Runs `generate` or `--check`; the exit code tells whether all is well."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "command", nargs="?", choices=["generate"], default="generate", help="write the stubs: the default"
    )
    parser.add_argument(
        "--check", action="store_true", help="lint the contract and compare the committed stubs instead"
    )
    if parser.parse_args().check:
        return _check()
    with tempfile.TemporaryDirectory() as scratch:
        fresh = _generate(Path(scratch))
        COMMITTED.mkdir(parents=True, exist_ok=True)
        for name in _differing(fresh):
            (COMMITTED / name).unlink(missing_ok=True)
            if (fresh / name).exists():
                shutil.copyfile(fresh / name, COMMITTED / name)
    return 0


def _check() -> int:
    with tempfile.TemporaryDirectory() as scratch:
        stale = [f"{(COMMITTED / name).relative_to(ROOT)}" for name in _differing(_generate(Path(scratch)))]
    problems = [f"{name} does not match protos/: run `make protos`" for name in stale]
    problems += [f"{name} is not googleapis-common-protos' file: copy that over it" for name in _stale_vendored()]
    for problem in problems:
        print(problem, file=sys.stderr)
    commands = [["lint"], ["format", "--diff", "--exit-code"]]
    failed = [
        command for command in commands if subprocess.run([_tool("buf"), *command], cwd=ROOT, check=False).returncode
    ]
    return 1 if problems or failed else 0


def _generate(target: Path) -> Path:
    stubs = target / PACKAGE
    stubs.mkdir(parents=True)
    (stubs / "__init__.py").write_text(PACKAGE_DOC, encoding="utf-8")
    sources = sorted(str(path.relative_to(PROTOS)) for path in (PROTOS / PACKAGE).glob("*.proto"))
    _protoc(target, sources, ["python", "mypy"])
    _protoc(target, [source for source in sources if source.endswith("_service.proto")], ["grpc_python", "mypy_grpc"])
    return stubs


def _protoc(target: Path, sources: list[str], kinds: list[str]) -> None:
    plugins = [f"--plugin=protoc-gen-{kind}={_tool(f'protoc-gen-{kind}')}" for kind in kinds if "mypy" in kind]
    outputs = [f"--{kind}_out={'quiet:' if 'mypy' in kind else ''}{target}" for kind in kinds]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTOS}", *plugins, *outputs, *sources], check=True)


def _differing(fresh: Path) -> list[str]:
    """Names of stubs that were added, changed or removed; the committed package holds nothing else."""
    names = {path.name for folder in (fresh, COMMITTED) for path in folder.glob("*.py*")}
    _, differing, missing = filecmp.cmpfiles(fresh, COMMITTED, sorted(names), shallow=False)
    return sorted(differing + missing)


def _stale_vendored() -> list[str]:
    """Google's messages are vendored so that `-I protos` suffices in every language; Python uses the package's own."""
    copies = sorted((PROTOS / "google" / "rpc").glob("*.proto"))
    originals = files("google.rpc")
    return [str(copy.relative_to(ROOT)) for copy in copies if copy.read_bytes() != (originals / copy.name).read_bytes()]


def _tool(name: str) -> str:
    beside_python = Path(sys.executable).with_name(name)
    found = str(beside_python) if beside_python.exists() else shutil.which(name)
    if found is None:
        raise SystemExit(f"{name} is not installed: run `make setup`")
    return found


if __name__ == "__main__":
    sys.exit(main())
