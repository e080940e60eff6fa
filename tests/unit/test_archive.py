"""An archive on the disk: each job whole and in one folder, whatever happens to who writes it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from jobhall import Batch, BatchState, Job, JobAttempt, JobState, JobType, LogEntry
from jobhall.archive import Archive, ArchivedJob, ArchiveError
from jobhall.archive.files import locked
from tests.support.processes import ROOT

FOLDERS = ("pending", "running", "complete", "failed", "cancelled")
WHEN = datetime(2026, 5, 1, 12, 0, 0, 7, tzinfo=UTC)
JOB = Job(id="j1", namespace="default", job_type="resize", state=JobState.PENDING, created_at=WHEN)
STATES = [
    (JobState.SCHEDULED, "pending"),
    (JobState.PENDING, "pending"),
    (JobState.CLAIMED, "running"),
    (JobState.RUNNING, "running"),
    (JobState.CANCELLING, "running"),
    (JobState.COMPLETED, "complete"),
    (JobState.FAILED, "failed"),
    (JobState.CANCELLED, "cancelled"),
]
WRITER = """
import sys
from itertools import count
from pathlib import Path
from jobhall import Job, JobState, LogEntry
from jobhall.archive import Archive, ArchivedJob

archive = Archive(Path(sys.argv[1]))
lines = tuple(LogEntry(message=f"line {number}" * 20) for number in range(200))
states = [state for state in JobState if state]
with archive.writing():
    for turn in count():
        for number in range(3):
            job = Job(id=f"j{number}", namespace="n", job_type="t", state=states[(turn + number) % 8], revision=turn)
            archive.write_job(ArchivedJob(job=job, log_entries=lines))
        print(turn, flush=True)
"""
DYING = """
import os, sys
from dataclasses import replace
from pathlib import Path
from jobhall import JobState
from jobhall.archive import Archive

archive = Archive(Path(sys.argv[1]))
job = archive.job("j1")
steps = int(sys.argv[2])

def die(event, arguments):
    global steps
    if event in ("open", "os.rename"):
        steps -= 1
        if steps == 0:
            os._exit(9)

with archive.writing():
    sys.addaudithook(die)
    archive.write_job(replace(job, job=replace(job.job, state=JobState.COMPLETED)))
"""


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    archive = Archive(tmp_path / "jobs")
    with archive.writing():
        yield archive


def files_of(archive: Archive, job_id: str = "j1") -> list[str]:
    return [name for name in FOLDERS if (archive.directory / name / f"{job_id}.json").exists()]


@pytest.mark.parametrize(("state", "folder"), STATES)
def test_a_job_lies_in_the_folder_of_its_status(archive: Archive, state: JobState, folder: str) -> None:
    archive.write_job(ArchivedJob(job=replace(JOB, state=state)))

    assert files_of(archive) == [folder]


def test_what_was_written_is_read_as_it_was(archive: Archive) -> None:
    whole = ArchivedJob(
        job=replace(JOB, parameters={"base64": "x"}, result=b"\x00", labels={"über": "é\n"}),
        attempts=(JobAttempt(attempt=1, fence=3, started_at=WHEN),),
        log_entries=(LogEntry(message="half a character \ud800", raw=b"\xff", number=1, attempt=1),),
    )
    batch = Batch(id="b1", namespace="default", state=BatchState.PENDING)
    kinds = [JobType(name="pdf:resize", namespace="@global"), JobType(name="resize", namespace="default")]
    archive.write_job(whole)
    archive.write_batch(batch)
    for kind in kinds:
        archive.write_type(kind)

    assert (list(archive.jobs()), list(archive.batches()), list(archive.types())) == ([whole], [batch], kinds)
    assert json.loads((archive.directory / "pending" / "j1.json").read_text())["job"]["labels"] == {"über": "é\n"}


def test_a_job_that_has_another_status_is_moved_and_one_that_has_not_stays(archive: Archive) -> None:
    moved = [archive.write_job(ArchivedJob(job=replace(JOB, state=state))) for state, _ in STATES]

    assert moved == [False, False, True, False, False, True, True, True]
    assert files_of(archive) == ["cancelled"]
    assert list((archive.directory / ".unfinished").iterdir()) == []


def test_a_job_that_was_removed_is_in_no_folder(archive: Archive) -> None:
    archive.write_job(ArchivedJob(job=JOB))

    archive.remove_job("j1")
    archive.remove_job("j1")

    assert files_of(archive) == []


def test_a_disk_that_fails_leaves_the_job_as_it_was(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    archive.write_job(ArchivedJob(job=JOB))

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ArchiveError, match="No space left on device"):
        archive.write_job(ArchivedJob(job=replace(JOB, state=JobState.COMPLETED)))
    monkeypatch.undo()

    assert files_of(archive) == ["pending"]
    assert archive.job("j1").job == JOB


@pytest.mark.slow
def test_who_dies_at_any_step_leaves_the_job_whole_and_in_one_folder(tmp_path: Path) -> None:
    seen = []
    for step in range(1, 20):
        archive = Archive(tmp_path / str(step))
        with archive.writing():
            archive.write_job(ArchivedJob(job=JOB))

        command = [sys.executable, "-c", DYING, str(archive.directory), str(step)]
        died = subprocess.run(command, cwd=ROOT, check=False).returncode

        [folder] = files_of(archive)
        seen.append((folder, archive.job("j1").job.state))
        if not died:
            break
    assert seen[0] == ("pending", JobState.PENDING)
    assert ("pending", JobState.COMPLETED) in seen
    assert seen[-1] == ("complete", JobState.COMPLETED)


@pytest.mark.slow
def test_who_is_killed_leaves_each_job_whole_and_in_one_folder(tmp_path: Path) -> None:
    directory = tmp_path / "jobs"
    for turns in (1, 5, 17, 30, 8):
        command = [sys.executable, "-c", WRITER, str(directory)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, text=True) as writer:
            assert writer.stdout is not None
            for _ in range(turns):
                writer.stdout.readline()
            writer.kill()

        archive = Archive(directory)
        assert [len(folders) for folders in all_files(archive)] == [1, 1, 1]
        assert {it.job.id: len(it.log_entries) for it in archive.jobs()} == {"j0": 200, "j1": 200, "j2": 200}
        with archive.writing():
            assert list((directory / ".unfinished").iterdir()) == []


def all_files(archive: Archive) -> list[list[str]]:
    """The folders of each of the three jobs, by a look at every file there is."""
    found = [(path.stem, path.parent.name) for path in sorted(archive.directory.glob("*/*.json"))]
    return [[folder for job_id, folder in found if job_id == f"j{number}"] for number in range(3)]


# --- what is refused ---


def test_two_cannot_write_to_one_folder(archive: Archive) -> None:
    with pytest.raises(ArchiveError, match="another export writes there"), Archive(archive.directory).writing():
        pass


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")

    with pytest.raises(ArchiveError, match="has other files in it"), Archive(tmp_path).writing():
        pass

    assert [it.name for it in tmp_path.iterdir()] == ["thesis.txt"]


def test_what_is_no_archive_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match=r"no folder that jobhall export wrote: it has no archive\.json"):
        Archive(tmp_path).check()


def test_an_archive_of_a_later_version_is_neither_read_nor_written_to(tmp_path: Path) -> None:
    """Once an export into it made it one of this version, by its mark alone."""
    archive = Archive(tmp_path)
    mark = tmp_path / "archive.json"
    mark.write_text('{"version": 2}')

    with pytest.raises(ArchiveError, match="reads archives of version 1 only"):
        archive.check()
    with pytest.raises(ArchiveError, match="reads archives of version 1 only"), archive.writing():
        pass
    assert mark.read_text() == '{"version": 2}'


def test_an_export_that_died_before_it_had_written_anything_can_be_said_again(tmp_path: Path) -> None:
    """Its folders were there, and not its mark: they were taken for somebody else's."""
    (tmp_path / "pending").mkdir()

    with Archive(tmp_path).writing():
        pass
    Archive(tmp_path).check()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("{}", "no ArchivedJob: job: is missing"),
        ('{"job": {"id": "j1"}, "colour": 1}', "colour: is no field of ArchivedJob; job.namespace: is missing"),
    ],
)
def test_a_file_that_is_not_whole_is_named_with_all_that_is_wrong(archive: Archive, text: str, why: str) -> None:
    path = archive.directory / "failed" / "j1.json"
    path.write_text(text)

    with pytest.raises(ArchiveError) as caught:
        list(archive.jobs())

    assert str(caught.value).startswith(str(path))
    assert why in str(caught.value)


def test_a_job_in_two_folders_is_named_with_both(archive: Archive) -> None:
    archive.write_job(ArchivedJob(job=JOB))
    archive.write_job(ArchivedJob(job=replace(JOB, id="j2")))
    (archive.directory / "failed" / "j1.json").hardlink_to(archive.directory / "pending" / "j1.json")

    with pytest.raises(ArchiveError, match=r"j1\.json is in .*pending and in .*failed"):
        list(archive.job_ids())


def test_a_file_that_holds_another_job_is_refused(archive: Archive) -> None:
    archive.write_job(ArchivedJob(job=JOB))
    (archive.directory / "pending" / "j1.json").rename(archive.directory / "pending" / "j9.json")

    with pytest.raises(ArchiveError, match="holds the job 'j1'"):
        list(archive.jobs())


@pytest.mark.parametrize("name", ["../j1", "a/b", "", ".", "j1.json"])
def test_no_id_names_a_file_elsewhere(archive: Archive, name: str) -> None:
    with pytest.raises(ArchiveError, match="is no id"):
        archive.write_job(ArchivedJob(job=replace(JOB, id=name)))


@pytest.mark.parametrize("kind", [JobType(name="../t", namespace="n"), JobType(name="t", namespace="..")])
def test_no_job_type_names_a_file_elsewhere(archive: Archive, kind: Any) -> None:
    with pytest.raises(ArchiveError, match="is no name of a job type"):
        archive.write_type(kind)


def test_a_lock_ends_with_its_holder(tmp_path: Path) -> None:
    with locked(tmp_path / "lock"):
        pass
    with locked(tmp_path / "lock"):
        pass
