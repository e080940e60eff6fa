"""What a job type says of its jobs: defaults, and schemas that parameters must match."""

from __future__ import annotations

from jobhall_server.hall.submits import Submission
from jobhall_server.hall.views import JobTypeView


def settled(submission: Submission, job_type: JobTypeView) -> Submission:
    """The submission with the type's defaults where it says nothing itself; SchemaMismatchError."""
    return submission
