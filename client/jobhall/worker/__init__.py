"""The worker: what runs handlers, and what talks to the server about their tasks."""

from jobhall.worker.worker import Worker

__all__ = ["Worker"]
