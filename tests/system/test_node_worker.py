"""The worker for Node that was written from the protos alone runs one job of the demo against the real server."""

from itertools import islice
from pathlib import Path

import pytest

import jobhall
from tests.support.processes import Processes
from tests.support.tools import needed_folder, needed_tool

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
ROWS = 200

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]


def node_worker() -> list[str]:
    needed_folder(EXAMPLES / "node_worker" / "node_modules")
    return [str(needed_tool("node")), str(EXAMPLES / "node_worker" / "worker.mjs"), "score_companies"]


def test_a_worker_for_node_runs_one_job_of_the_demo_and_leaves(processes: Processes, tmp_path: Path) -> None:
    command = node_worker()
    companies, scores = tmp_path / "companies.csv", tmp_path / "scores.csv"
    with (EXAMPLES / "bulk_scoring" / "data" / "annual.csv").open() as source:
        lines = list(islice(source, 1 + ROWS))
    companies.write_text("".join(lines))
    server = processes.serve(heartbeat_seconds=0.5, session_ttl_seconds=2)

    with jobhall.Client(server.address) as client:
        client.types.register("score_companies")
        job = client.jobs.submit("score_companies", {"input": str(companies), "output": str(scores), "pace_ms": 2})
        worker = processes.start("node", command, address=server.address)
        job = client.jobs.wait_for_job(job.id, timeout=30)

    assert worker.wait() == 0, worker.output
    assert worker.output == ""
    assert job.result == {"rows": ROWS, "results": str(scores)}
    assert (job.attempt, job.worker_losses) == (1, 0)
    written = scores.read_text().splitlines()
    assert written[0] == "symbol,return_on_assets"
    assert [line.split(",")[0] for line in written[1:]] == [line.split(",")[0] for line in lines[1:]]


def test_a_worker_for_node_reports_what_went_wrong(processes: Processes, tmp_path: Path) -> None:
    command = node_worker()
    server = processes.serve(heartbeat_seconds=0.5, session_ttl_seconds=2)

    with jobhall.Client(server.address) as client:
        client.types.register("score_companies")
        job = client.jobs.submit("score_companies", {"input": str(tmp_path / "missing.csv"), "output": "nowhere"})
        worker = processes.start("node", command, address=server.address)
        with pytest.raises(jobhall.JobFailedError):
            client.jobs.wait_for_job(job.id, timeout=30)
        job = client.jobs.get_job(job.id)

    assert worker.wait() == 0, worker.output
    assert job.error
    assert job.error.code == "NODE_WORKER"
    assert "missing.csv" in job.error.message
    assert "worker.mjs" in job.error.stack
