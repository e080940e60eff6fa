"""Makes `.venv` in the root with everything that the targets of the Makefile need; the standard library is enough."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / ".setup-stamp"
OLDEST = (3, 11)


def main() -> None:
    if sys.version_info < OLDEST:
        wanted = ".".join(map(str, OLDEST))
        sys.exit(
            f"jobhall needs Python {wanted} or newer, this is {sys.version.split()[0]}: make PYTHON=python{wanted} …"
        )
    if not usable_venv():
        make_venv()
    pip("install", "--upgrade", "pip")
    pip("install", "--editable", ".[server,cli]", "--group", "dev")
    STAMP.touch()
    print(f"set up: {VENV.relative_to(ROOT)}")


def usable_venv() -> bool:
    return PYTHON.exists() and run(str(PYTHON), "-m", "pip", "--version", quiet=True)


def make_venv() -> None:
    """Makes it afresh; Debian and Ubuntu keep `venv` in a package of its own, which root can install here."""
    command = (sys.executable, "-m", "venv", "--clear", str(VENV))
    if run(*command):
        return
    package = f"python3.{sys.version_info.minor}-venv"
    apt = shutil.which("apt-get")
    if apt is None or os.geteuid() != 0:
        sys.exit(f"this Python has no working venv; install it (Debian, Ubuntu: apt-get install {package}), try again")
    run(apt, "update", "--quiet")
    run(apt, "install", "--yes", "--quiet", "--no-install-recommends", package)
    if not run(*command):
        sys.exit(f"this Python has no working venv, even with {package}")


def pip(*arguments: str) -> None:
    options = ("--constraint", "constraints.txt", "--quiet", "--disable-pip-version-check")
    if not run(str(PYTHON), "-m", "pip", *arguments, *options):
        sys.exit(f"failed: pip {' '.join(arguments)}")


def run(*command: str, quiet: bool = False) -> bool:
    return subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL if quiet else None).returncode == 0


if __name__ == "__main__":
    main()
