"""The demo's worker as a shell script of grpcurl calls: it claims, begins, reports and goes, without a stream."""

import os
from itertools import islice
from pathlib import Path

import pytest

import jobhall
from jobhall.states import JobState
from tests.support.processes import ROOT, Processes
from tests.support.tools import needed_tool
from tests.support.waiting import eventually

EXAMPLES = ROOT / "examples"
ROWS = 200

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]


def shell_worker(*, wait: int = 2) -> list[str]:
    needed_tool("jq")
    script = EXAMPLES / "shell_worker" / "worker.sh"
    said = [f"GRPCURL={needed_tool('grpcurl')}", f"WAIT={wait}", "BEAT=0.2"]
    return ["env", *said, "bash", str(script), "score_companies"]


def test_a_shell_script_runs_the_jobs_of_the_demo_and_says_what_went_wrong(
    processes: Processes, tmp_path: Path
) -> None:
    command = shell_worker()
    companies, scores = tmp_path / "companies.csv", tmp_path / "scores.csv"
    with (EXAMPLES / "bulk_scoring" / "data" / "annual.csv").open() as source:
        lines = list(islice(source, 1 + ROWS))
    companies.write_text("".join(lines))
    server = processes.serve()

    with jobhall.Client(server.address) as client:
        client.types.register("score_companies")
        good = client.jobs.submit("score_companies", {"input": str(companies), "output": str(scores)})
        bad = client.jobs.submit("score_companies", {"input": str(tmp_path / "missing.csv"), "output": "/dev/null"})
        worker = processes.start("shell", command, address=server.address)
        good = client.jobs.wait_for_job(good.id, timeout=30)
        with pytest.raises(jobhall.JobFailedError):
            client.jobs.wait_for_job(bad.id, timeout=30)
        bad = client.jobs.get_job(bad.id)

    assert worker.wait() == 0, worker.output
    assert worker.output == ""
    assert good.result == {"rows": ROWS, "results": str(scores)}
    assert (good.attempt, good.worker_losses) == (1, 0)
    assert len(scores.read_text().splitlines()) == ROWS + 1
    assert bad.error
    assert bad.error.code == "SHELL_WORKER"
    assert "missing.csv" in bad.error.message


def test_a_task_of_the_shell_script_that_is_cancelled_stops_with_all_it_has_started(
    processes: Processes, tmp_path: Path
) -> None:
    """Its input is a pipe that nobody writes to: it would wait for ever."""
    command = shell_worker()
    endless = tmp_path / "endless.csv"
    os.mkfifo(endless)
    server = processes.serve()

    with jobhall.Client(server.address) as client:
        client.types.register("score_companies")
        job = client.jobs.submit("score_companies", {"input": str(endless), "output": str(tmp_path / "none.csv")})
        worker = processes.start("shell", command, address=server.address)
        eventually(
            lambda: client.jobs.get_job(job.id).state is JobState.RUNNING, within=20, what="the script has begun"
        )
        client.jobs.cancel_job(job.id, reason="enough")
        eventually(
            lambda: client.jobs.get_job(job.id).state is JobState.CANCELLED, within=20, what="the script has stopped it"
        )

    assert worker.wait() == 0, worker.output
    assert worker.output == ""


def test_the_shell_script_outlasts_a_restart_of_the_server(processes: Processes, tmp_path: Path) -> None:
    """While no server answers it says everything again, and its session is still there afterwards."""
    command = shell_worker(wait=20)
    companies = tmp_path / "companies.csv"
    companies.write_text("symbol,a,b,c,d,e\nAAPL,2,0,0,0,1\n")
    parameters = {"input": str(companies), "output": str(tmp_path / "scores.csv")}
    server = processes.serve()
    with jobhall.Client(server.address) as client:
        client.types.register("score_companies")
        before = client.jobs.submit("score_companies", parameters)
        worker = processes.start("shell", command, address=server.address)
        before = client.jobs.wait_for_job(before.id, timeout=30)
        [session] = client.workers.list()

    server.kill()
    again = processes.serve(listen=server.address)
    with jobhall.Client(again.address) as client:
        after = client.jobs.submit("score_companies", parameters)
        after = client.jobs.wait_for_job(after.id, timeout=30)
        [still] = client.workers.list()

    assert worker.status is None
    assert still.id == session.id
    assert [(job.attempt, job.worker_losses) for job in (before, after)] == [(1, 0)] * 2
