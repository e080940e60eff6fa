"""Workers by the unary twins, such as cron jobs would be: slow at times, stubborn about answers, all on record."""

from __future__ import annotations

import json
import random
import threading
import time
from pathlib import Path
from typing import Self

import grpc

from jobhall.v1 import job_pb2, task_pb2, worker_service_pb2, worker_service_pb2_grpc
from tests.support.history import Answer, Recorder, What
from tests.support.waiting import eventually

CALL_SECONDS = 3.0
POLL_SECONDS = 0.5
LEASE_SECONDS = 1.0
WORK_SECONDS = (0.0, 0.1, 0.3, 2.5)
"""The last one is longer than a lease: the job is another's by then, or not."""
LAST_SECONDS = 30.0


class Scripts:
    """So many of them in threads, within a block; each claims a task, works, and reports until it has an answer."""

    def __init__(self, address: str, job_type: str, folder: Path, *, count: int = 2) -> None:
        self._address = address
        self._job_type = job_type
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(Recorder(folder / f"{name}.calls", name), name), name=name)
            for name in (f"script-{number}" for number in range(count))
        ]
        self._failures: list[BaseException] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(LAST_SECONDS)
        assert not [thread.name for thread in self._threads if thread.is_alive()]
        assert not self._failures, self._failures

    def _run(self, recorder: Recorder, name: str) -> None:
        try:
            with grpc.insecure_channel(self._address, options=[("grpc.max_reconnect_backoff_ms", 500)]) as channel:
                script = _Script(worker_service_pb2_grpc.WorkerServiceStub(channel), recorder, name)
                while not self._stopping.is_set():
                    script.work(self._job_type)
        except BaseException as error:  # noqa: BLE001 - the block's end raises it
            self._failures.append(error)


class _Script:
    def __init__(self, twins: worker_service_pb2_grpc.WorkerServiceStub, recorder: Recorder, name: str) -> None:
        self._twins = twins
        self._recorder = recorder
        self._name = name

    def work(self, job_type: str) -> None:
        """One task, if there is one."""
        request = worker_service_pb2.ClaimTasksRequest(
            job_types=[job_type], worker_name=self._name, accept=random.random() < 0.5
        )
        request.timeout.FromMilliseconds(int(POLL_SECONDS * 1000))
        request.lease_duration.FromMilliseconds(int(LEASE_SECONDS * 1000))
        called_at = time.monotonic()
        try:
            claimed = self._twins.ClaimTasks(request, timeout=CALL_SECONDS, wait_for_ready=True)
        except grpc.RpcError:
            return  # Whatever it claimed is free again soon.
        for task in claimed.tasks:
            self._recorder.claimed(task.job_id, fence=task.fence, called_at=called_at)
            time.sleep(random.choice(WORK_SECONDS))  # sleeps: it is the work
            self._complete(task, claimed.session_id)

    def _complete(self, task: task_pb2.TaskAssignment, session_id: str) -> None:
        value = json.dumps({"worker": self._name, "fence": task.fence})
        update = task_pb2.TaskUpdate(seq=1, lease_token=task.lease_token)
        update.completed.result.CopyFrom(job_pb2.Payload(json=value))

        def reported() -> bool:
            nonlocal session_id
            request = worker_service_pb2.ReportTasksRequest(session_id=session_id, updates=[update])
            with self._recorder.call(What.COMPLETE, task.job_id, fence=task.fence, value=value) as outcome:
                try:
                    answer = self._twins.ReportTasks(request, timeout=CALL_SECONDS, wait_for_ready=True)
                except grpc.RpcError as error:
                    if error.code() is grpc.StatusCode.NOT_FOUND:
                        session_id = ""  # It may still be taken by its token.
                    return False
                outcome.answer = Answer.REFUSED if answer.rejections else Answer.OK
                return True

        eventually(reported, within=LAST_SECONDS, what=f"{self._name} has an answer to its report")
