"""A program that is a job worker, with one job to do: `queue_program ADDRESS`."""

import sys
import time

from jobhall.queue import JobQueue, JobWorker, QueueJob


class Slow(JobWorker):
    job_types = ("slow",)

    def get_worker_name(self) -> str:
        return "slow"

    def can_process_job(self, job: QueueJob) -> bool:
        return True

    def execute_job(self, job: QueueJob) -> None:
        sys.stdout.write(f"{job.id} begun\n")
        time.sleep(1.0)  # sleeps: it is a handler under test


def main() -> None:
    with JobQueue(sys.argv[1]) as queue, Slow(queue) as worker:
        queue.create_job("slow")
        worker.wait()


if __name__ == "__main__":
    main()
