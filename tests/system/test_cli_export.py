"""`jobhall export` and `jobhall import`: jobs in every state go from one server to another, and nothing is lost."""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobhall import BatchState, Client, Job, JobState, LogEntry, Submission
from jobhall.archive import Archive, ArchivedJob
from jobhall.ids import new_id
from jobhall.model_insight import JobAttempt
from jobhall.states import AttemptOutcome
from tests.support.archives import files_of, fill, imported, let_go, told, work_elsewhere
from tests.support.command_line import Hall
from tests.support.processes import Processes
from tests.support.tools import needed_tool
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

WITHIN = 20.0


@pytest.fixture
def hall(processes: Processes) -> Iterator[Hall]:
    hall = Hall(processes, processes.serve().address)
    yield hall
    let_go(hall)


@pytest.fixture
def client(hall: Hall) -> Iterator[Client]:
    with Client(hall.address) as client:
        yield client


@pytest.fixture
def other(processes: Processes) -> Hall:
    """A server that knows nothing."""
    return Hall(processes, processes.serve("other.db").address)


def read(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def test_jobs_in_every_state_come_back_as_they_were_and_go_on(hall: Hall, client: Client, other: Hall) -> None:
    ids = fill(hall, client)
    exported = hall.run("export", "jobs", "-n", "-")
    assert (exported.returncode, exported.stderr) == (0, "")
    first = files_of(hall.folder / "jobs")
    _assert_files_say_all(client, {name: read(first[job_id]) for name, job_id in ids.items()})
    let_go(hall)
    assert exported.stdout == f"exported {len(ids)} jobs, 0 of them moved, 7 job types, 3 batches\n"

    checked = other.run("import", "jobs", "--dry-run")
    assert (checked.returncode, checked.stderr) == (0, "")
    brought = other.run("import", "jobs")
    assert (brought.returncode, brought.stderr) == (0, "")
    assert brought.stdout == f"imported {len(ids)} jobs, 7 job types, 3 batches\n"
    assert checked.stdout == brought.stdout.replace("imported", "would import")

    assert other.run("export", "again", "-n", "-").returncode == 0
    second = files_of(hall.folder / "again")
    assert first.keys() == second.keys() == set(ids.values())
    for name, job_id in ids.items():
        was, now = read(first[job_id]), read(second[job_id])
        assert now == imported(was, now), name
        assert [event["event_type"] for event in now["events"]] == ["IMPORTED"], name
    work_elsewhere(other)
    with Client(other.address) as there:
        _all_end(there, ids)


def _assert_files_say_all(client: Client, files: dict[str, dict[str, Any]]) -> None:
    for name, said in files.items():
        whole = told(client, said["job"]["id"]) | {"place": said["place"]}
        whole["job"]["timing"] = said["job"]["timing"]
        assert said == whole, name
    completed, retried = files["completed"], files["retried"]
    assert [line["attempt"] for line in completed["log_entries"]] == [1, 1, 2, 2, 2]
    assert [error["key"] for error in completed["item_errors"]] == ["ACME", ""]
    assert (completed["job"]["result"], completed["job"]["checkpoint"]) == ({"base64": "AP8="}, {"json": {"json": 1}})
    assert [(it["attempt"], it["fence"], it["outcome"]) for it in retried["attempts"]] == [
        (1, 1, "FAILED"),
        (1, 2, "FAILED"),
    ]


def _all_end(there: Client, ids: dict[str, str]) -> None:
    for name in ("pending", "elsewhere", "under way", "under way too", "its end"):
        assert there.jobs.wait_for_job(ids[name], timeout=WITHIN).succeeded
    running = there.jobs.wait_for_job(ids["running"], timeout=WITHIN)
    assert running.result == {"from": 4, "fence": 2}
    [under_way] = there.batches.list(name="under way")
    ended = there.batches.wait(under_way.id, timeout=WITHIN)
    assert ended.state is BatchState.COMPLETED
    eventually(lambda: there.batches.get(ended.id).completion_job_id, within=WITHIN, what="its completion job")
    last = there.jobs.wait_for_job(there.batches.get(ended.id).completion_job_id, timeout=WITHIN)
    assert last.result == "finished"
    # Only that one is new: the completion job of the batch that had ended was not submitted again.
    assert {job.id for job in there.jobs.list_jobs(namespace="-")} == {*ids.values(), last.id}
    [held] = there.batches.list(name="open")
    assert (held.closed, held.active, held.counts.pending) == (False, False, 1)


def test_exported_again_what_has_changed_is_moved_and_what_is_gone_goes_when_asked(hall: Hall, client: Client) -> None:
    client.types.register("parked")
    stays, moves, goes = (client.jobs.submit("parked").id for _ in range(3))
    hall.run("export", "jobs")
    client.jobs.cancel_job(moves)
    client.jobs.delete_job(goes)

    again = hall.run("export", "jobs", "--json")
    kept = {job_id: path.parent.name for job_id, path in files_of(hall.folder / "jobs").items()}
    pruned = hall.run("export", "jobs", "--prune")

    assert json.loads(again.stdout) == {"jobs": 2, "moved": 1, "pruned": 0, "job_types": 1, "batches": 0}
    assert kept == {stays: "pending", moves: "cancelled", goes: "pending"}
    assert pruned.stdout == "exported 2 jobs, 0 of them moved, 1 job type, 0 batches, 1 pruned\n"
    assert files_of(hall.folder / "jobs").keys() == {stays, moves}


def test_an_export_of_one_namespace_says_so_where_there_are_jobs_in_others(hall: Hall, client: Client) -> None:
    """Who wanted a copy of all had that of the namespace default, and nothing said so."""
    for place in ("default", "shop"):
        client.types.register("parked", namespace=place)
    client.jobs.submit("parked")
    before = hall.run("export", "jobs").stdout
    client.jobs.submit("parked", namespace="shop")

    after = hall.run("export", "jobs").stdout
    named = hall.run("export", "jobs", "-n", "default").stdout
    whole = hall.run("export", "jobs", "-n", "-").stdout

    assert after == f"{before.rstrip()} in namespace default; -n - takes all\n"
    assert (named, whole) == (before, "exported 2 jobs, 0 of them moved, 2 job types, 0 batches\n")


def test_an_export_takes_the_conditions_of_a_list(hall: Hall, client: Client) -> None:
    for name in ("resize", "report"):
        client.types.register(name)
    wanted = client.jobs.submit("resize", labels={"team": "red"}).id
    client.jobs.submit("report", labels={"team": "red"})
    client.jobs.submit("resize", labels={"team": "blue"})

    hall.run("export", "jobs", "--type", "resize", "--label", "team=red", "--state", "pending")

    assert files_of(hall.folder / "jobs").keys() == {wanted}
    assert [it.name for it in Archive(hall.folder / "jobs").types()] == ["resize"]


def test_more_jobs_than_a_page_come_in_their_order_however_often_it_was_killed(
    hall: Hall, client: Client, other: Hall
) -> None:
    client.types.register("parked")
    ids = [job.id for _ in range(2) for job in client.jobs.submit_many([Submission("parked")] * 600)]
    archive = Archive(hall.folder / "jobs")

    export = hall.start("export", "export", "jobs")
    eventually(lambda: len(files_of(archive.directory)) > 100, within=WITHIN, what="some jobs are written")
    export.kill()
    assert 100 < len([it.job.id for it in archive.jobs()]) < len(ids)
    exported = hall.run("export", "jobs", "--json")
    with Client(other.address) as there:
        bring = other.start("import", "import", "jobs")
        eventually(lambda: there.jobs.stats().total.total, within=WITHIN, what="some jobs are imported")
        bring.kill()
        brought = other.run("import", "jobs", "--json", "--skip-existing")

        assert json.loads(exported.stdout)["jobs"] == len(ids)
        counts = json.loads(brought.stdout)
        assert counts["jobs"] + counts["skipped"] == len(ids)
        events = {it.job.id: [event.event_type.name for event in it.events] for it in archive.jobs()}
        assert events == {job_id: ["SUBMITTED"] for job_id in ids}
        assert [job.id for job in there.jobs.list_jobs(order_by="create_time")] == ids


def test_the_files_are_for_jq(hall: Hall, client: Client) -> None:
    client.types.register("parked")
    client.jobs.submit("parked", {"n": 1})
    hall.run("export", "jobs")

    [path] = files_of(hall.folder / "jobs").values()
    said = subprocess.run(
        [needed_tool("jq"), "-c", "[.job.state, .job.parameters.n]", path], capture_output=True, check=True
    )

    assert said.stdout == b'["PENDING",1]\n'


# --- what is there already ---


def test_where_a_job_is_there_already_nothing_is_imported(hall: Hall, client: Client, other: Hall) -> None:
    client.types.register("parked")
    first = client.jobs.submit("parked").id
    hall.run("export", "jobs")
    assert other.run("import", "jobs").returncode == 0
    client.types.register("new")
    client.jobs.submit("new")
    hall.run("export", "jobs")

    refused = other.run("import", "jobs")
    skipping = other.run("import", "jobs", "--skip-existing")

    assert refused.returncode == 1
    assert refused.stderr == f"jobhall: job {first} is there already; --skip-existing imports the others\n"
    assert skipping.stdout == "imported 1 job, 1 job type, 0 batches, 1 job already there\n"
    with Client(other.address) as there:
        assert [it.name for it in there.types.list()] == ["new", "parked"]


def test_an_import_that_was_interrupted_goes_on(hall: Hall, client: Client, other: Hall) -> None:
    client.types.register("parked")
    batch = client.batches.create("b", jobs=[Submission("parked") for _ in range(3)], closed=True)
    hall.run("export", "jobs")
    late = files_of(hall.folder / "jobs")[batch.job_ids[2]]
    aside = late.rename(hall.folder / "late.json")

    partly = other.run("import", "jobs")
    aside.rename(late)
    wholly = other.run("import", "jobs", "--skip-existing")

    assert partly.stderr == f"jobhall: batch {batch.id} stays open: 2 of 3 jobs are here\n"
    assert wholly.stdout == "imported 1 job, 0 job types, 0 batches, 2 jobs already there\n"
    with Client(other.address) as there:
        assert (there.batches.get(batch.id).closed, there.batches.get(batch.id).counts.total) == (True, 3)


def test_a_dry_run_checks_all_and_stores_nothing(hall: Hall, client: Client, other: Hall) -> None:
    client.types.register("parked")
    client.batches.create("b", jobs=[Submission("parked")])
    job_id = client.jobs.submit("parked").id
    hall.run("export", "jobs")

    fine = other.run("import", "jobs", "--dry-run", "--json")
    path = files_of(hall.folder / "jobs")[job_id]
    path.write_text(path.read_text().replace('"PENDING"', '"WAITING"', 1))
    broken = other.run("import", "jobs", "--dry-run")

    assert json.loads(fine.stdout) == {
        "jobs": 2,
        "skipped": 0,
        "job_types": 1,
        "batches": 1,
        "log_lines_left_out": 0,
        "dry_run": True,
    }
    assert broken.returncode == 1
    assert "job.state: 'WAITING' is none of UNSPECIFIED, SCHEDULED, PENDING" in broken.stderr
    with Client(other.address) as there:
        assert [*there.types.list(), *there.batches.list(), *there.jobs.list_jobs()] == []


# --- what does not fit ---


def test_what_a_server_would_refuse_is_told_by_the_names_of_files(hall: Hall, client: Client, other: Hall) -> None:
    """Once it was told by a place in a request that nobody had seen, `jobs[0]`; what no request can say, by a stack."""
    client.types.register("parked")
    jobs = [client.jobs.submit("parked", {"place": place}).id for place in range(3)]
    hall.run("export", "jobs")
    files = [files_of(hall.folder / "jobs")[job_id] for job_id in jobs]
    texts = [file.read_text() for file in files]

    def refused(**edits: tuple[str, str]) -> str:
        for place, (old, new) in ((int(name[1:]), edit) for name, edit in edits.items()):
            assert old in texts[place]
            files[place].write_text(texts[place].replace(old, new, 1))
        told = other.run("import", "jobs", "--skip-existing")
        for file, text in zip(files, texts, strict=True):
            file.write_text(text)
        assert told.returncode == 1
        return told.stderr.replace(f"{files[1].relative_to(hall.folder)}", "ONE").replace(
            f"{files[2].relative_to(hall.folder)}", "TWO"
        )

    attempt, fence = ('"attempt": 0', '"attempt": 9'), ('"fence": 0', f'"fence": {2**70}')
    early, half = ('"result": null', '"result": 1'), ('"path": ""', '"path": "\\ud800"')
    assert refused(_1=attempt, _2=early) == (
        "jobhall: ONE: job.attempt: is 9 of max_attempts = 4, which is more; "
        "TWO: job.result: is given, though the job is PENDING\n"
    )
    assert refused(_2=fence).startswith("jobhall: TWO: ")
    assert refused(_1=half) == "jobhall: ONE: half a character in '\\ud800'\n"
    with Client(other.address) as there:
        assert list(there.jobs.list_jobs()) == []


def test_a_job_whose_type_is_gone_is_exported_with_a_warning(hall: Hall, client: Client, other: Hall) -> None:
    client.types.register("gone")
    job_id = client.jobs.submit("gone").id
    client.jobs.cancel_job(job_id)
    client.types.delete("gone")

    exported = hall.run("export", "jobs")
    refused = other.run("import", "jobs")
    with Client(other.address) as there:
        there.types.register("gone")
    brought = other.run("import", "jobs")

    assert exported.stdout == "exported 1 job, 0 of them moved, 0 job types, 0 batches\n"
    assert exported.stderr == (
        "jobhall: job type gone is not registered any more: register it again before an import\n"
    )
    assert (refused.returncode, "JOB_TYPE_NOT_FOUND" in refused.stderr) == (4, True)
    assert brought.stdout == "imported 1 job, 0 job types, 0 batches\n"


def test_of_a_log_that_is_too_long_for_a_request_the_newest_lines_come(hall: Hall, client: Client) -> None:
    client.types.register("parked")
    whole = _long(client.jobs.submit("parked", {"n": 1}))
    archive = Archive(hall.folder / "jobs")
    with archive.writing():
        archive.write_job(whole)

    brought = hall.run("import", "jobs", "--json")

    left_out = json.loads(brought.stdout)["log_lines_left_out"]
    kept = [entry.number for entry in client.jobs.logs(whole.job.id)]
    assert kept == list(range(left_out + 1, len(whole.log_entries) + 1))
    assert 200 < len(kept) < 400
    assert brought.stderr == (
        f"jobhall: left out {left_out} log lines, the oldest: a job with its log has to fit into one request\n"
    )


def _long(job: Job) -> ArchivedJob:
    """A job that has run once, and has written 6 MiB of log."""
    at = job.created_at
    attempt = JobAttempt(
        attempt=1, fence=1, claimed_at=at, started_at=at, ended_at=at, outcome=AttemptOutcome.RELEASED, worker_name="w"
    )
    lines = [LogEntry(message="x" * 12_000, number=number, attempt=1, written_at=at) for number in range(1, 525)]
    return ArchivedJob(
        job=replace(job, id=new_id(), fence=1, claimed_at=at, started_at=at, state=JobState.PENDING),
        attempts=(attempt,),
        log_entries=tuple(lines),
    )


@pytest.mark.parametrize("command", ["export", "import"])
def test_a_folder_that_is_no_archive_is_refused_in_a_line(hall: Hall, command: str) -> None:
    (hall.folder / "mine").mkdir()
    (hall.folder / "mine" / "thesis.txt").write_text("precious")

    refused = hall.run(command, "mine")

    assert refused.returncode == 1
    assert refused.stderr.startswith("jobhall: mine")
    assert len(refused.stderr.splitlines()) == 1
