"""What went wrong on the command line of the whole lifecycle: odd input, filters of scripts, narrow terminals."""

import io
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rich.console import Console

from jobhall.archive import Archive, ArchivedJob
from jobhall.cli.application import run
from jobhall.cli.arguments import read_document, read_parameters
from jobhall.cli.bulk import Matching, check_matching
from jobhall.cli.exits import Exit, UsageError
from jobhall.cli.import_faults import NotImportedError
from jobhall.cli.import_order import grouped
from jobhall.cli.job_lines import read_job
from jobhall.cli.lines import Lines
from jobhall.cli.phrases import age_text
from jobhall.cli.screen import Screen
from jobhall.cli.tables import BATCHES, JOBS
from jobhall.model import ItemError, Job, Progress
from jobhall.model_batches import Batch
from jobhall.model_insight import JobCounts
from jobhall.states import BatchState, JobState

ID = "01977c0e-0000-7000-8000-000000000001"
DEEP = "[" * 100_000
AGO = timedelta(minutes=11, seconds=16)


# --- what is read ---


def test_what_is_nested_too_deeply_is_refused_in_a_line(tmp_path: Path) -> None:
    """It was a traceback of a hundred lines."""
    file = tmp_path / "deep.json"
    file.write_text(DEEP)

    with pytest.raises(UsageError, match=r"deep\.json is nested too deeply"):
        read_document(str(file), option="--params-file")
    assert read_parameters(params=[f"odd={DEEP}"], json_params=None, params_file=None) == {"odd": DEEP}


def test_a_job_that_no_request_can_hold_is_told_by_its_file(tmp_path: Path) -> None:
    """Parameters, result, checkpoint and item errors may be more together than a request takes. The import ended with
    "the jobs have 7009264 bytes together: split them", which named nothing that could be split.
    """
    archive = Archive(tmp_path / "jobs")
    errors = tuple(ItemError(index=place, message="x" * 4200) for place in range(1000))
    with archive.writing():
        archive.write_job(
            ArchivedJob(job=Job(id=ID, namespace="a", job_type="b", state=JobState.FAILED), item_errors=errors)
        )

    with pytest.raises(NotImportedError, match=rf"failed/{ID}\.json: has \d+ bytes without its log"):
        list(grouped(archive, archive.jobs()))


@pytest.mark.parametrize("line", [r'{"type": "\ud800"}', r'{"type": "x", "labels": {"\udfff": "y"}}'])
def test_half_a_character_is_refused_with_its_line(line: str) -> None:
    """JSON can name what no text has, and protobuf's own error was a traceback."""
    with pytest.raises(UsageError, match=r"jobs\.jsonl:3 names half a character"):
        read_job(line, where="jobs.jsonl:3")


def test_what_is_not_utf_8_on_standard_input_is_said_to_be_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the locale it was a traceback, or no JSON at its first character."""
    for errors in ("strict", "surrogateescape"):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b'"\xff"'), encoding="utf-8", errors=errors))
        with pytest.raises(UsageError, match="standard input is not UTF-8"):
            read_document("-", option="--params-file")


def test_a_byte_order_mark_is_no_content(tmp_path: Path) -> None:
    """Editors and shells of Windows begin a file with one; it was no JSON, with advice for Python programmers."""
    file = tmp_path / "marked.json"
    file.write_bytes(b'\xef\xbb\xbf{"month": 7}\r\n')

    assert read_document(str(file), option="--params-file") == {"month": 7}


@pytest.mark.parametrize("text", ['""', "null", '"{}"', "5"])
def test_a_file_that_holds_no_schema_is_not_registered_as_none(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`null` and `""` were registered as no schema at all, and said to be registered."""
    file = tmp_path / "schema.json"
    file.write_text(text)

    assert run(["type", "register", "resize", "--parameters-schema", str(file)]) is Exit.USAGE
    assert "schema.json is no schema" in capsys.readouterr().err


# --- what is written ---


def test_what_an_output_cannot_hold_is_spelled_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """`jobhall logs` was a traceback in a pipe whose locale has no letter for what the job said."""
    output = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(output, encoding="ascii"))

    assert run(["--version"]) is Exit.OK
    Lines().said(None, "käse")

    assert output.getvalue().splitlines()[-1] == rb"k\xe4se"


# --- filters ---


@pytest.mark.parametrize("verb", [["purge", "--older-than", "0"], ["cancel"], ["retry"]], ids=lambda verb: verb[0])
def test_an_empty_filter_is_not_all_jobs(verb: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """`jobhall purge --older-than 0 --filter "$which" --yes` deleted all jobs where nobody had set the variable."""
    assert run([*verb, "--filter", " ", "--yes"]) is Exit.USAGE
    assert "--filter: is empty" in capsys.readouterr().err
    check_matching(Matching(yes=True))


# --- terminals ---


def jobs() -> list[Job]:
    job = Job(id=ID, namespace="default", job_type="images:resize", state=JobState.CANCELLING, attempt=3)
    at = datetime.now(UTC) - AGO
    return [replace(job, progress=Progress(percent=50.0, message="rows"), created_at=at), replace(job, created_at=at)]


def batches() -> list[Batch]:
    counts = JobCounts(pending=12_000, failed=3)
    at = datetime.now(UTC) - AGO
    progress = Progress(percent=100.0)
    state = BatchState.PROCESSING
    return [
        Batch(id=ID, namespace="", state=state, name="nightly run", counts=counts, progress=progress, created_at=at)
    ]


class Shown:
    """A terminal that wide, and what lists look like on it."""

    def __init__(self, width: int) -> None:
        self.file = io.StringIO()
        self.screen = Screen(
            Console(file=self.file, force_terminal=True, width=width, highlight=False, color_system=None)
        )

    def jobs(self) -> list[str]:
        self.screen.table(JOBS, jobs())
        return self.text().splitlines()

    def batches(self) -> list[str]:
        self.screen.table(BATCHES, batches())
        return self.text().splitlines()

    def text(self) -> str:
        return self.file.getvalue()


def test_80_columns_are_enough_for_a_list_of_jobs() -> None:
    """With progress and ages such as `11 min 16 s` the ids lost their ends, and an id is what one copies."""
    head, *rows = Shown(80).jobs()

    assert head.split()[:3] == ["id", "type", "state"]
    assert [row.split()[0] for row in rows] == [ID, ID]
    assert all(row.endswith("11 min") for row in rows)
    assert max(map(len, rows)) <= 80


def test_80_columns_are_enough_for_a_list_of_batches() -> None:
    _, row = Shown(80).batches()

    assert row.split()[0] == ID
    assert row.split()[-7:] == ["PROCESSING", "12003", "100", "%", "3", "11", "min"]
    assert len(row) <= 80


@pytest.mark.parametrize("width", [40, 20])
def test_where_a_terminal_is_too_narrow_its_lines_go_on_below_and_ids_stay_whole(width: int) -> None:
    _, *rows = Shown(width).jobs()

    assert [row.split()[0] for row in rows] == [ID, ID]
    assert all("CANCELLING" in row for row in rows)


def test_a_batch_that_ended_without_jobs_is_no_empty_bar() -> None:
    """COMPLETED stood beside a bar at 0 %."""
    [batch] = batches()
    terminal = Shown(120)
    terminal.screen.batch(replace(batch, state=BatchState.COMPLETED, counts=JobCounts(), progress=Progress()))

    assert "100 %" in terminal.text()


def test_a_name_with_a_tab_shifts_no_column() -> None:
    [batch] = batches()
    terminal = Shown(120)
    terminal.screen.table(BATCHES, [replace(batch, name="a\tb\nc")])

    assert "  a b c  PROCESSING" in terminal.text()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0 s"), (0.9, "0 s"), (59.9, "59 s"), (60, "1 min"), (3599, "59 min"), (3600, "1 h"), (864_000, "10 d")],
)
def test_an_age_is_its_largest_unit(seconds: float, text: str) -> None:
    assert age_text(timedelta(seconds=seconds)) == text
