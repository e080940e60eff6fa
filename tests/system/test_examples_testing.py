"""The pytest plugin as a user's project meets it: by a pytest of its own, with or without other plugins."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.documents import Reader, blocks_of
from tests.support.processes import ROOT

EXAMPLE = ROOT / "examples" / "testing"
SETTINGS = """[pytest]
pythonpath = .
addopts = --strict-markers
filterwarnings =
    error
    ignore:The configuration option "asyncio_default_fixture_loop_scope" is unset
"""
ALONE = ("-p", "no:asyncio", "-p", "no:randomly", "-p", "no:timeout", "-p", "no:xdist")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project of its own, which has the example, and takes every warning for an error."""
    shutil.copytree(EXAMPLE, tmp_path / "examples" / "testing", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "pytest.ini").write_text(SETTINGS)
    return tmp_path


def test_the_readme_runs_as_it_stands(project: Path) -> None:
    with Reader(folder=project) as reader:
        for block in blocks_of((EXAMPLE / "README.md").read_text()):
            reader.follow(block)


def test_it_needs_no_other_plugin(project: Path) -> None:
    assert re.search(r"6 passed in", outcome(project, *ALONE))


def test_several_processes_test_at_once(project: Path) -> None:
    assert "6 passed in" in outcome(project, "-n", "2")


def test_a_project_that_does_not_use_it_loads_nothing_of_it(project: Path) -> None:
    write(
        project,
        """
        import sys

        def test_nothing_is_loaded(pytestconfig):
            assert pytestconfig.pluginmanager.has_plugin("jobhall")
            loaded = {name.split(".")[0] for name in sys.modules}
            assert not loaded & {"jobhall", "grpc", "google", "sqlalchemy", "pydantic", "structlog", "alembic"}
        """,
    )

    assert "1 passed" in outcome(project, *ALONE, "test_it.py")


def test_without_the_server_it_says_what_to_install(project: Path) -> None:
    (project / "conftest.py").write_text("import sys\nsys.modules['sqlalchemy'] = None\n")
    write(project, "def test_jobs(jobhall):\n    pass")

    output = outcome(project, *ALONE, "test_it.py", fails=True)

    assert "the fixture `jobhall` needs the server (" in output
    assert "pip install 'jobhall[server]'" in output
    assert "Traceback" not in output


@pytest.mark.parametrize(
    ("marker", "said"),
    [
        (
            "session_ttl=3",
            "@pytest.mark.jobhall: the server has no setting 'session_ttl'; did you mean session_ttl_seconds",
        ),
        ("worker_streams_max=0", "worker_streams_max: Input should be greater than or equal to 1"),
        ("3", "settings are given by their names, not (3,)"),
    ],
)
def test_a_setting_that_is_none_is_named(project: Path, marker: str, said: str) -> None:
    write(project, f"import pytest\n\n@pytest.mark.jobhall({marker})\ndef test_jobs(jobhall):\n    pass")

    assert said in outcome(project, *ALONE, "test_it.py", fails=True)


def test_a_failure_shows_the_test_and_the_handler_and_nothing_in_between(project: Path) -> None:
    write(
        project,
        """
        def resize(task):
            width = task.parameters["width"] // 0

        def test_assertion(jobhall):
            jobhall.register("resize")
            jobhall.client.jobs.submit("resize", {"width": 100})
            jobhall.assert_submitted("resize", {"width": 200})

        def test_handler(jobhall):
            jobhall.perform({"resize": resize}, "resize", {"width": 100})
        """,
    )

    output = outcome(project, *ALONE, "test_it.py", fails=True)

    assert (
        "E       AssertionError: no job of type 'resize' with parameters {'width': 200} was submitted; there are:"
        in output
    )
    assert "E         resize {'width': 100} PENDING (" in output
    assert '>       width = task.parameters["width"] // 0\n' in output
    assert "E       AssertionError: the handler of 'resize' failed, in attempt 1 of job " in output
    assert "ZeroDivisionError: integer division or modulo by zero" in output
    assert "jobhall_server/" not in output
    assert "2 failed" in output


def write(project: Path, text: str) -> None:
    lines = text.strip("\n").splitlines()
    margin = len(lines[0]) - len(lines[0].lstrip())
    (project / "test_it.py").write_text("\n".join(line[margin:] for line in lines) + "\n")


def outcome(project: Path, *arguments: str, fails: bool = False) -> str:
    """What pytest prints of the project, in a process of its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("JOBHALL_", "PYTEST_"))}
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert run.returncode == (1 if fails else 0), run.stdout + run.stderr
    return run.stdout
