"""The worker process of a run: one no-op handler, which may give a result back or note when it was started."""

from __future__ import annotations

import argparse
import threading
import time
from array import array

from bench.processes import say
from bench.server import JOB_TYPE
from jobhall.task import Task
from jobhall.worker import Worker


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("--result-bytes", type=int, default=0)
    parser.add_argument("--latencies", type=int, default=0, help="note this many times from submit to start")
    arguments = parser.parse_args()

    worker = Worker(arguments.address, name="bench")
    if arguments.latencies:
        _serve_latencies(worker, arguments.latencies)
    else:
        _serve(worker, result="x" * arguments.result_bytes or None)
    threading.Thread(target=_announce, args=[worker], daemon=True).start()
    say(starting_at=time.time())
    worker.run()


def _serve(worker: Worker, *, result: str | None) -> None:
    @worker.handler(JOB_TYPE)
    async def noop(_task: Task) -> str | None:
        return result


def _serve_latencies(worker: Worker, count: int) -> None:
    latencies = array("d")

    @worker.handler(JOB_TYPE)
    async def note(task: Task) -> None:
        now = time.monotonic()
        # The producer's clock is ours: CLOCK_MONOTONIC is the machine's, not the process's.
        latencies.append(now - task.parameters["at"])
        if len(latencies) == count:
            say(latencies=latencies.tolist())


def _announce(worker: Worker) -> None:
    while not worker.connected:
        time.sleep(0.01)
    say(connected_at=time.time())


if __name__ == "__main__":
    main()
