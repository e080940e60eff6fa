"""A worker that takes a task, hears of a drain and stays all the same; its argument is the server's address."""

import sys
import threading
from collections.abc import Iterator
from contextlib import suppress

import grpc

from jobhall.v1 import job_pb2, job_service_pb2, job_service_pb2_grpc, worker_service_pb2, worker_service_pb2_grpc


def main() -> None:
    never = threading.Event()

    def requests() -> Iterator[worker_service_pb2.WorkRequest]:
        hello = worker_service_pb2.Hello(worker_name="stubborn", job_types=["score"], protocol_version=1)
        hello.capacity.tasks_max = 1
        yield worker_service_pb2.WorkRequest(hello=hello)
        never.wait()

    # However it ends, the worker has nothing to add.
    with grpc.insecure_channel(sys.argv[1]) as channel, suppress(grpc.RpcError):
        for response in worker_service_pb2_grpc.WorkerServiceStub(channel).Work(requests()):
            said = response.WhichOneof("response")
            sys.stdout.write(f"{said}\n")
            sys.stdout.flush()
            if said == "welcome":
                submit = job_service_pb2.SubmitJobRequest(job=job_pb2.JobSubmission(job_type="score"))
                job_service_pb2_grpc.JobServiceStub(channel).SubmitJob(submit)


if __name__ == "__main__":
    main()
