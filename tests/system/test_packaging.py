"""The wheel and the sdist: what they hold, and that a fresh environment works with what they install."""

import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

import jobhall

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel that was built from it: so the sdist lacks nothing."""
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fresh") / "venv"
    venv.create(folder)
    return folder / "bin"


def test_the_wheel_holds_both_packages_with_their_types_and_migrations(distributions: Path) -> None:
    [wheel] = distributions.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())

    assert {"jobhall/py.typed", "jobhall_server/py.typed"} <= names
    for source in (ROOT / "client", ROOT / "server"):
        for path in source.rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert str(path.relative_to(source)) in names
    foreign = {name.split("/")[0] for name in names} - {"jobhall", "jobhall_server"}
    assert foreign == {f"jobhall-{jobhall.__version__}.dist-info"}


def test_the_sdist_holds_the_contract_and_the_license(distributions: Path) -> None:
    [sdist] = distributions.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 1)[-1] for name in archive.getnames()}

    assert {"LICENSE", "README.md", "CHANGELOG.md", "pyproject.toml"} <= names
    assert {str(path.relative_to(ROOT)) for path in (ROOT / "protos").rglob("*.proto")} <= names


def test_a_fresh_environment_has_a_working_sdk_and_then_both_commands(distributions: Path, fresh: Path) -> None:
    [wheel] = distributions.glob("*.whl")
    install(fresh, str(wheel))

    ran(fresh, "python", "-c", "import jobhall; print(jobhall.Client, jobhall.AsyncClient, jobhall.Worker)")
    for command, extra in (("jobhall", "cli"), ("jobhall-server", "server")):
        refused = subprocess.run([fresh / command, "--version"], capture_output=True, text=True, check=False)
        assert refused.returncode != 0
        assert f"jobhall[{extra}]" in refused.stderr
        assert "Traceback" not in refused.stderr

    install(fresh, f"{wheel}[server,cli]")

    assert jobhall.__version__ in ran(fresh, "jobhall", "--version")
    assert jobhall.__version__ in ran(fresh, "jobhall-server", "--version")


def install(fresh: Path, requirement: str) -> None:
    """By the pip that is here: to make one there, and to compile what nobody runs, took longer than all the rest."""
    pip = [sys.executable, "-m", "pip", "--python", str(fresh / "python")]
    options = ["--quiet", "--no-compile", "--constraint", str(ROOT / "constraints.txt")]
    _run(fresh, *pip, "install", *options, requirement)


def ran(fresh: Path, program: str, *arguments: str) -> str:
    """What it printed; away from the source tree, so that only what is installed is found."""
    return _run(fresh, str(fresh / program), *arguments)


def _run(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
