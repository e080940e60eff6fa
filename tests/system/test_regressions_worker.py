"""Faults of workers that were found with real processes or the simulation: each test opens with what went wrong."""

import os
import signal

import pytest

from jobhall import WorkerInfo
from jobhall.states import JobState
from tests.support.processes import Processes
from tests.support.scene import Scene
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]


def test_a_worker_that_leaves_while_its_server_is_restarted_delivers_what_it_still_runs(processes: Processes) -> None:
    """A worker was told to leave, and its last task was still running; then its server stopped and told it to move on.
    The end of its stream was well, so it took that for the end of all: the task was stopped, given back to a server
    that was away, and run again a session's time to live later (seed 2318791024 of the simulation).
    """
    with Scene(processes, session_ttl_seconds=2) as scene:
        worker = scene.work("leaver")
        before = scene.streams("leaver")
        job_id = scene.hold()
        os.kill(worker.pid, signal.SIGTERM)
        eventually(lambda: not leaver(scene).capacity, within=20, what="it asks for no more")

        assert scene.server.stop() == 0
        scene.serve_again()
        scene.back("leaver", before)
        scene.open()
        scene.is_in(JobState.COMPLETED, job_id)

        assert worker.wait() == 0
        assert scene.counted(job_id) == (1, 0)
        scene.judge()


def leaver(scene: Scene) -> WorkerInfo:
    (worker,) = scene.client.workers.list()
    return worker
