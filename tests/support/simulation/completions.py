"""The completion jobs of the simulated batches."""

from __future__ import annotations

from jobhall_server.domain.job import Payload
from jobhall_server.hall.submits import Submission

COMPLETION = "the completion job of "
"""What the parameters of such a job begin with, before its batch's id."""


def read_completion(text: str) -> Submission:
    """The completion job of the batch with that id; the server chooses the job's, so that two of them are two."""
    return Submission("work", parameters=Payload(f'"{COMPLETION}{text}"'))
