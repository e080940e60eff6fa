"""A program that takes the tasks of a class of its own: `library_program ADDRESS ROOM run|hold|exit`."""

import signal
import sys
import threading
from dataclasses import dataclass
from types import FrameType

from jobhall import JobManager


@dataclass
class Slow:
    """Says that it has begun, and does not end."""

    def run(self, context: str) -> None:
        say(f"{context} begun")
        threading.Event().wait()


def main() -> None:
    address, room, what = sys.argv[1:]
    with JobManager(address, namespace=room, context=room, name="program") as jobs:
        jobs.register(Slow)
        tasks = jobs.listen()

        def stop(_number: int, _frame: FrameType | None) -> None:
            tasks.stop()

        signal.signal(signal.SIGTERM, stop)
        say("listening")
        for task in tasks:
            say(f"given {task.job_id}")
            if what == "run":
                task.run()
            elif what == "exit":
                return
        say("ended")


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        say("interrupted")
