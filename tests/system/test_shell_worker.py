"""The demo's worker as a shell script of grpcurl calls: it claims, begins, reports and goes, without a stream."""

from itertools import islice
from pathlib import Path

import pytest

import jobhall
from tests.support.processes import ROOT, Processes
from tests.support.tools import needed_tool

EXAMPLES = ROOT / "examples"
ROWS = 200

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]


def shell_worker() -> list[str]:
    needed_tool("jq")
    script = EXAMPLES / "shell_worker" / "worker.sh"
    return ["env", f"GRPCURL={needed_tool('grpcurl')}", "WAIT=2", "bash", str(script), "score_companies"]


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
