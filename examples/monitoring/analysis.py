"""What a job's response says, for people."""

from __future__ import annotations

from collections.abc import Iterator

from jobhall import Job, OperationStatus

CREATED = {"ds_id": "dataset", "file_id": "file"}
"""What an upload may have made, by the name that its response has for it."""


def analysis(job: Job) -> Iterator[str]:
    """Lines about a job that was read whole."""
    status, response = OperationStatus.of(job), job.response
    yield f"=== Job {job.id} ==="
    yield f"Operation: {job.operation}"
    yield f"Status: {status}"
    yield f"Path: {job.path}"
    if job.created_at and job.last_updated_at:
        yield f"Duration: {job.last_updated_at - job.created_at}"
    if response:
        yield "Response data:"
        yield from (f"  {key}: {value}" for key, value in response.items())
    if status is OperationStatus.SUCCESS:
        yield from (f"✓ Created {noun}: {response[key]}" for key, noun in CREATED.items() if key in response)
    elif job.done:
        yield f"✗ Failure reason: {response['failure_reason']}"
        if details := response.get("error_details"):
            yield f"✗ Error details: {details}"
