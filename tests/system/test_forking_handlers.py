"""Handlers that fork: a pool of processes, the usual way to more than one core, beside a live worker stream."""

import sys
from pathlib import Path

import jobhall
from tests.support.processes import Processes

WORKER = """
from concurrent.futures import ProcessPoolExecutor

import jobhall

worker = jobhall.Worker(concurrency=4)


@worker.handler("sum")
def total(task):
    with ProcessPoolExecutor(2) as pool:
        return sum(pool.map(abs, range(20)))


worker.run()
"""
JOBS = 30


def test_a_pool_of_processes_in_a_handler_loses_no_child(tmp_path: Path) -> None:
    """gRPC's handlers of fork() ran in each child, half of them: every tenth one died at once, and its job failed with
    BrokenProcessPool.
    """
    (tmp_path / "forking.py").write_text(WORKER)
    with Processes(tmp_path) as processes:
        server = processes.serve()
        with jobhall.Client(server.address) as client:
            client.types.register("sum")
            jobs = [client.jobs.submit("sum", max_attempts=1) for _ in range(JOBS)]
            processes.start("forking", [sys.executable, "forking.py"], address=server.address)

            results = [client.jobs.wait_for_job(job.id, timeout=60).result for job in jobs]

    assert results == [190] * JOBS
