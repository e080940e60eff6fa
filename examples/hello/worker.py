"""The smallest worker: run it with `python worker.py`, next to a `jobhall-server serve`."""

import logging

import jobhall

worker = jobhall.Worker()


@worker.handler("greet")
def greet(task: jobhall.Task) -> dict[str, str]:
    task.progress(message="thinking of something nice")
    return {"greeting": f"Hello, {task.parameters['name']}!"}


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    worker.run()
