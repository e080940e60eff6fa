"""A watcher that may be killed at any moment: `python -m tests.support.watching.kept ADDRESS FILE LABEL` writes down
what it is told together with the place after it, and goes on from there in its next life.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import grpc

from jobhall.states import EventType
from jobhall.v1 import job_service_pb2 as pb
from jobhall.v1 import job_service_pb2_grpc
from tests.support.watching.oracle import Asked
from tests.support.watching.watchers import LOGGED, PASSES

Brief = tuple[str, int, EventType]
"""Job, revision and type: enough to know an event by."""


def read(path: Path) -> tuple[str, list[Brief]]:
    """The last place and everything that was told up to it; a line that its writer did not live to end is nothing."""
    cursor, told = "", []
    for line in path.read_text().splitlines(keepends=True) if path.exists() else []:
        if line.endswith("\n"):
            read = json.loads(line)
            cursor = read["cursor"]
            told += [(job_id, revision, EventType(kind)) for job_id, revision, kind in read["events"]]
    return cursor, told


def watch(address: str, path: Path, team: str) -> None:
    """For ever."""
    asked = Asked(
        namespace="-",
        labels=(("team", team),) if team else (),
        event_types=(*LOGGED, EventType.ENTERED, EventType.LEFT),
    )
    cursor, _ = read(path)
    whole = path.read_bytes() if path.exists() else b""
    file = os.open(path, os.O_CREAT | os.O_WRONLY)
    os.ftruncate(file, whole.rfind(b"\n") + 1)
    os.lseek(file, 0, os.SEEK_END)
    with grpc.insecure_channel(address, options=[("grpc.max_reconnect_backoff_ms", 300)]) as channel:
        stub = job_service_pb2_grpc.JobServiceStub(channel)
        while True:
            request = pb.WatchJobsRequest(**asked.fields(), cursor=cursor)
            try:
                for response in stub.WatchJobs(request, wait_for_ready=True):
                    cursor = response.cursor
                    events = [(event.job_id, event.revision, event.event_type) for event in response.events]
                    os.write(file, f"{json.dumps({'cursor': cursor, 'events': events})}\n".encode())
            except grpc.RpcError as error:
                if error.code() not in PASSES:
                    raise


if __name__ == "__main__":
    address, name, team = sys.argv[1:]
    watch(address, Path(name), team)
