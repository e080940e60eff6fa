"""The `jobhall-server` command: what it prints, how it fails in one line, and its exit codes."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import jobhall
from tests.support.processes import Processes
from tests.support.waiting import eventually

pytestmark = pytest.mark.slow


def run(folder: Path, *arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    variables = {f"JOBHALL_{name.upper()}": value for name, value in settings.items()}
    command = [sys.executable, "-m", "jobhall_server", *arguments]
    environment = {**os.environ, **variables}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=30, check=False)


def test_the_version_is_that_of_the_package(tmp_path: Path) -> None:
    assert run(tmp_path, "--version").stdout.strip() == f"jobhall-server {jobhall.__version__}"


def test_config_prints_every_setting_and_where_it_comes_from(tmp_path: Path) -> None:
    (tmp_path / "j.toml").write_text("watchers_max = 7\n")

    answer = run(tmp_path, "config", "--config", "j.toml", "--reaper-seconds", "0.5", log_level="debug")

    assert answer.returncode == 0
    assert "watchers_max = 7  # j.toml" in answer.stdout
    assert "reaper_seconds = 0.5  # --reaper-seconds" in answer.stdout
    assert 'log_level = "debug"  # JOBHALL_LOG_LEVEL' in answer.stdout
    assert "auto_register = true  # default" in answer.stdout


def test_what_config_prints_is_a_file_of_settings_again(tmp_path: Path) -> None:
    (tmp_path / "j.toml").write_text(run(tmp_path, "config", watchers_max="7").stdout)

    assert "watchers_max = 7  # j.toml" in run(tmp_path, "config", "--config", "j.toml").stdout


def test_a_misspelled_variable_is_named_beside_what_was_meant(tmp_path: Path) -> None:
    answer = run(tmp_path, "config", listne="127.0.0.1:0")

    assert answer.returncode == 0
    assert answer.stderr == "jobhall-server: JOBHALL_LISTNE is no setting of this server (JOBHALL_LISTEN?)\n"


@pytest.mark.parametrize(
    ("arguments", "settings", "code", "said"),
    [
        (["serve", "--bogus"], {}, 2, "--bogus"),
        (["abolish"], {}, 2, "abolish"),
        (["serve", "--heartbeat-seconds", "often"], {}, 2, "heartbeat_seconds"),
        (["serve"], {"listen": "0.0.0.0:0"}, 2, "everybody is the admin"),
        (["serve"], {"auth": "jwt"}, 2, "not built yet"),
        (["serve"], {"database_url": "mysql://x/y"}, 1, "mysql"),
        (["serve"], {"database_url": "sqlite:///no/such/folder/j.db"}, 1, "folder"),
        (["migrate"], {"database_url": "sqlite:///."}, 1, "folder"),
        (["backup", "copy.db"], {}, 1, "nothing to back up"),
        (["backup"], {}, 2, "FILE"),
        (["healthcheck", "--address", "127.0.0.1:1"], {}, 1, "does not answer"),
        (["config", "--config", "none.toml"], {}, 2, "none.toml"),
    ],
)
def test_what_goes_wrong_is_one_line_and_an_exit_code(
    tmp_path: Path, arguments: list[str], settings: dict[str, str], code: int, said: str
) -> None:
    answer = run(tmp_path, *arguments, **settings)

    assert answer.returncode == code, answer.stderr
    assert said in answer.stderr
    assert answer.stderr.startswith("jobhall-server: ")
    assert answer.stderr.count("\n") == 1
    assert not answer.stdout


def test_migrate_makes_the_schema_and_may_be_repeated(tmp_path: Path) -> None:
    first, again = run(tmp_path, "migrate"), run(tmp_path, "migrate")

    assert first.returncode == again.returncode == 0
    assert first.stdout == again.stdout
    assert str(tmp_path / "jobhall.db") in first.stdout


def test_backup_says_what_the_copy_holds_and_refuses_to_write_over_it(tmp_path: Path) -> None:
    run(tmp_path, "migrate")
    with Processes(tmp_path) as processes:
        processes.serve()
        first, again = run(tmp_path, "backup", "copy.db"), run(tmp_path, "backup", "copy.db")

    assert first.returncode == 0, first.stderr
    assert first.stdout.startswith(f"{tmp_path}/copy.db: 0 jobs, 0.")
    assert again.returncode == 1
    assert again.stderr == f"jobhall-server: {tmp_path}/copy.db exists already: name a new file\n"


def test_healthcheck_finds_the_server_where_the_settings_say(tmp_path: Path) -> None:
    with Processes(tmp_path) as processes:
        server = processes.serve()

        assert run(tmp_path, "healthcheck", listen=server.address).returncode == 0
        assert server.stop() == 0
        assert run(tmp_path, "healthcheck", listen=server.address).returncode == 1


def test_a_second_signal_ends_the_process_at_once(tmp_path: Path) -> None:
    """The first one drains, for as long as a worker that holds a task keeps its stream open."""
    with Processes(tmp_path) as processes:
        server = processes.serve(drain_seconds=60)
        holding = processes.start("holder", [sys.executable, "-m", "tests.support.stubborn_worker", server.address])
        holding.says("task_assignments")

        os.kill(server.pid, signal.SIGTERM)
        holding.says("drain")
        os.kill(server.pid, signal.SIGTERM)

        eventually(lambda: server.status is not None, within=10, what="the server is gone")
        assert server.status == -signal.SIGTERM
        holding.kill()
