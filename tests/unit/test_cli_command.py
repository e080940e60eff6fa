"""The command as a whole, where no server is needed: help, versions, usage errors and exit codes."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import jobhall
from jobhall.cli import main
from jobhall.cli.exits import Exit, UsageError, WorkerBrokenError, exit_for, explain
from jobhall.cli.running import load_worker
from jobhall.errors import (
    ApiError,
    FieldInvalidError,
    FieldViolation,
    JobNotFoundError,
    JobTerminalError,
    JobTypeNotFoundError,
    ServerUnreachableError,
)
from tests.support.ports import free_port

SHOP = """
import jobhall

class Shop:
    idle = jobhall.Worker()
    worker = jobhall.Worker()

@Shop.worker.handler("sell")
def sell(task):
    return None
"""


JOBS = set(re.findall(r"\w+", "submit get ls attempts errors logs explain stats watch events top"))
JOBS |= {"update", "cancel", "retry", "rm", "purge", "export", "import"}
NOUNS = {
    "worker": "run ls get drain",
    "type": "ls get register rm pause resume",
    "batch": "create get ls update close cancel rm wait",
}
COMMANDS = sorted(JOBS) + [f"{noun} {verb}" for noun, verbs in NOUNS.items() for verb in verbs.split()]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = main([*command.split(), "--help"])

    text = capsys.readouterr().out
    assert code == 0
    assert "For example:" in text
    assert "Exit codes:" in text
    assert "--address" in text
    assert max(map(len, text.splitlines())) <= 80


def test_no_command_is_without_its_test_of_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert listed(capsys.readouterr().out) == JOBS | NOUNS.keys()
    for noun, verbs in NOUNS.items():
        assert main([noun, "--help"]) == 0
        assert listed(capsys.readouterr().out) == set(verbs.split())


def test_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"jobhall {jobhall.__version__}\n"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("subit", 'Did you mean "submit"?'),
        ("submit", "JOB_TYPE requires an argument"),
        ("submit x --pram a=1", "Did you mean --param?"),
        ("submit x --priority high", "--priority"),
        ("submit x - --param a=1", "give the parameters once"),
        ("ls --limit -1", "--limit: -1 is negative"),
        ("ls --state nope", "--state: 'nope' is no state"),
        ("watch some-id --type x", "not both"),
        ("watch some-id --batch x", "not both"),
        ("watch --until-done", "--until-done goes with a --batch"),
        ("watch --event finished", "--event: 'finished' is no event; they are SUBMITTED, SCHEDULED"),
        ("watch --label red", "--label: 'red' is not of the form NAME=VALUE"),
        ("events --limit -1", "--limit: -1 is negative"),
        ("events --event failed,lost", "--event: 'lost' is no event"),
        ("top --sort size", "--sort"),
        ("top some-id", "too many arguments"),
        ("submit x --retry-delay soon", "--retry-delay: 'soon' is no span such as 90s"),
        ("submit x --retry-strategy random", "--retry-strategy"),
        ("submit x --run-timeout 9x", "--run-timeout: '9x' is no span"),
        ("submit x --progress-timeout -1s", "--progress-timeout"),
        ("cancel", "name at least one job"),
        ("cancel some-id --grace forever", "--grace: 'forever' is no span"),
        ("retry", "name at least one job"),
        ("rm one two --etag 3", "--etag is that of one job"),
        ("cancel some-id --filter type=x", "give job ids or a --filter, not both"),
        ("cancel some-id --yes", "--dry-run, --yes and --namespace go with a --filter"),
        ("cancel --filter type=x --grace 5s", "--grace is for named jobs"),
        ("cancel --filter type=x", "say --yes, or look first with --dry-run"),
        ("retry --filter type=x", "say --yes, or look first with --dry-run"),
        ("purge --older-than 7d", "say --yes, or look first with --dry-run"),
        ("purge --yes", "--older-than"),
        ("purge --older-than 7d --yes --dry-run", "give --dry-run or --yes, not both"),
        ("purge --older-than soon --yes", "--older-than: 'soon' is no span"),
        ("update some-id", "say what to change"),
        ("update some-id --at tomorrow", "--at: 'tomorrow' is neither a span such as 2h nor a time"),
        ("update some-id --label a=1 --remove-label a", "both name 'a'"),
        ("submit x --at -5m", "--at"),
        ("submit x --unique-policy reject", "go with a --unique-key"),
        ("submit x --unique-key k --unique-policy first", "--unique-policy"),
        ("submit x --file a.csv --file-name b.csv", "give a --file or a --file-name"),
        ("submit x --file-size 5", "--file-size goes with a --file-name"),
        ("submit x --wait --validate-only", "nothing to --wait for"),
        ("logs some-id --level loud", "--level"),
        ("type register x --parameters-schema no-such-file", "--parameters-schema: no-such-file: No such file"),
        ("type register x --parameters-schema - --result-schema -", "standard input can be one of the schemas"),
        ("batch close", "name at least one batch"),
        ("batch update some-id", "say what to change"),
        ("batch create --completion-policy all-terminal", "go with a --completion"),
        ("batch create --jobs no-such-file", "--jobs: no-such-file: No such file"),
        ("batch ls --limit -1", "--limit: -1 is negative"),
        ("type ls --limit -1", "--limit: -1 is negative"),
        ("batch wait some-id --timeout later", "--timeout: 'later' is no span"),
        ("worker drain", "name at least one worker"),
        ("worker drain some-id --timeout 5x", "--timeout: '5x' is no span"),
        ("worker ls --state running", "they are ATTACHED, DETACHED, DRAINING"),
        ("get \udcff", "is not UTF-8"),
        ("get one two three", "too many arguments: two three."),
        ("submit resize --max-attempts 0", "--max-attempts: 0 would never run it"),
        ("worker run tasks", "not of the form MODULE:WORKER"),
        ("worker run no_such_module_anywhere:worker", "no module 'no_such_module_anywhere'"),
        ("worker run json:no_such_thing", "has no 'no_such_thing'"),
        ("worker run json:dumps", "is no Worker but function"),
        ("worker run tasks:worker --processes 0", "--processes: 0 is not from 1 to"),
        ("worker run tasks:worker --proceses 2", "See: jobhall worker run --help"),
        ("--json type register", "See: jobhall type register --help"),
        ("batch crate", "See: jobhall batch --help"),
        ("submit worker --address", "See: jobhall submit --help"),
    ],
)
def test_a_wrong_line_is_one_line_and_exit_code_2(line: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(line.split())

    output = capsys.readouterr()
    assert code == Exit.USAGE
    assert output.out == ""
    assert says in output.err
    assert output.err.count("\n") == 1


def test_global_options_may_stand_before_and_after_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    address = f"127.0.0.1:{free_port()}"

    for line in (["--address", address, "--json", "ls"], ["ls", "--json", "--address", address]):
        assert main(line) == Exit.UNREACHABLE

        error = capsys.readouterr().err
        assert f"no jobhall server answers at {address}" in error
        assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("x"), 2),
        (ServerUnreachableError("h:1"), 3),
        (JobNotFoundError("x"), 4),
        (JobTypeNotFoundError("x"), 4),
        (JobTerminalError("x", "COMPLETED"), 1),
        (FieldInvalidError("job.priority", "is 1000"), 1),
    ],
)
def test_exit_codes_are_the_documented_ones(error: jobhall.JobhallError, code: int) -> None:
    assert exit_for(error) == code


def test_an_error_is_one_line_with_its_reason_and_its_fields() -> None:
    error = ApiError("two things\nare wrong", reason="FIELD_INVALID", violations=[FieldViolation("job.path", "long")])

    assert explain(error) == "two things are wrong [FIELD_INVALID]; job.path: long"
    assert explain(FieldInvalidError("job.priority", "is 1000")).count("job.priority") == 1


def test_without_the_extra_one_line_names_it() -> None:
    script = "import sys; sys.modules['cyclopts'] = None; from jobhall.cli import main; sys.exit(main(['ls']))"

    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)

    assert ran.returncode == 1
    assert ran.stderr == "jobhall: the command line needs cyclopts: pip install 'jobhall[cli]'\n"


def test_help_loads_neither_grpc_nor_protobuf() -> None:
    script = (
        "import sys; from jobhall.cli import main; main(['submit', '--help']);"
        "print({'grpc', 'google.protobuf'} & set(sys.modules), file=sys.stderr)"
    )

    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert ran.stderr == "set()\n"


def test_a_worker_is_found_in_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shop_tasks.py").write_text(SHOP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])

    assert isinstance(load_worker("shop_tasks:Shop.worker"), jobhall.Worker)
    with pytest.raises(UsageError, match="has no handler"):
        load_worker("shop_tasks:Shop.idle")


def test_a_module_that_raises_is_blamed_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_tasks.py").write_text("import os\n\nraise RuntimeError('no licence')\n")
    (tmp_path / "needy_tasks.py").write_text("import a_library_that_is_not_there\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])

    with pytest.raises(WorkerBrokenError, match=r"RuntimeError: no licence \(.*broken_tasks.py:3\)"):
        load_worker("broken_tasks:worker")
    with pytest.raises(WorkerBrokenError, match="No module named 'a_library_that_is_not_there'"):
        load_worker("needy_tasks:worker")


def test_python_dash_m_is_the_same_command() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}

    ran = subprocess.run(
        [sys.executable, "-m", "jobhall.cli", "--version"], capture_output=True, text=True, check=True, env=environment
    )

    assert ran.stdout == f"jobhall {jobhall.__version__}\n"


def listed(text: str) -> set[str]:
    """The commands in a page of help."""
    return set(re.findall(r"^│ ([a-z]+) ", text.partition("Commands")[2].partition("╰")[0], re.MULTILINE))
