"""What a user's strict type checker says of the SDK from outside the repository, with no setting of ours."""

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import jobhall
from jobhall import reports

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

PROGRAM = Path(__file__).resolve().parents[1] / "support" / "typed_program.py"
WRONG = """
import jobhall

client = jobhall.Client()
client.jobs.submit(17)
client.jobs.submit("resize", prioritty=3)
client.jobs.list_jobs(states=["FAILED"])
client.jobs.get_job("j").parametres
jobhall.Cleint()
jobhall.Job.from_dict("{}")
"""
SEEN_AS_WRONG = ["arg-type", "call-arg", "list-item", "attr-defined", "attr-defined", "arg-type"]


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What mypy says of three modules of a user: a whole program, one that names every name, and a wrong one."""
    folder = tmp_path_factory.mktemp("user")
    shutil.copy(PROGRAM, folder / "program.py")
    reveals = [f"reveal_type(jobhall.{name})" for name in jobhall.__all__]
    reveals += [f"reveal_type(reports.{name})" for name in reports.__all__]
    (folder / "names.py").write_text("\n".join(["import jobhall", "from jobhall import reports", *reveals]))
    (folder / "wrong.py").write_text(WRONG)
    mypy = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir=cache"]
    done = subprocess.run(
        [*mypy, "program.py", "names.py", "wrong.py"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert not done.stderr, done.stderr
    return done.stdout.splitlines()


def test_a_users_program_passes_with_the_types_that_it_expects(said: Sequence[str]) -> None:
    assert "ignore" not in PROGRAM.read_text(encoding="utf-8")
    assert of("program", said) == []


def test_every_public_name_has_a_type(said: Sequence[str]) -> None:
    names = of("names", said)

    assert len(names) == len(jobhall.__all__) + len(reports.__all__)
    assert [
        line for line in names if "Revealed type is" not in line or re.search(r'"(?:Any|builtins.object)"', line)
    ] == []


def test_what_is_wrong_is_seen(said: Sequence[str]) -> None:
    """Else the first test could not fail: without its marker of types the package would be Any, and all be right."""
    codes = re.findall(r"\[([\w-]+)\]$", "\n".join(of("wrong", said)), re.MULTILINE)

    assert sorted(codes) == sorted(SEEN_AS_WRONG)


def of(module: str, said: Sequence[str]) -> list[str]:
    return [line for line in said if line.startswith(f"{module}.py:")]
