"""A worker that hears of a drain and stays all the same: `python -m tests.support.stubborn_worker ADDRESS`."""

import sys
import threading
from collections.abc import Iterator

import grpc

from jobhall.v1 import worker_service_pb2, worker_service_pb2_grpc


def main() -> None:
    never = threading.Event()

    def requests() -> Iterator[worker_service_pb2.WorkRequest]:
        hello = worker_service_pb2.Hello(worker_name="stubborn", job_types=["score"], protocol_version=1)
        hello.capacity.tasks_max = 1
        yield worker_service_pb2.WorkRequest(hello=hello)
        never.wait()

    with grpc.insecure_channel(sys.argv[1]) as channel:
        for response in worker_service_pb2_grpc.WorkerServiceStub(channel).Work(requests()):
            sys.stdout.write(f"{response.WhichOneof('response')}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
