"""What a job type asks of its jobs: parameters and results that match its schemas, and what a submit leaves open."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from jobhall.errors import FieldViolation, SchemaMismatchError
from jobhall_server.domain.job import Payload
from jobhall_server.domain.job_defaults import defaults_of
from jobhall_server.hall import checks
from jobhall_server.hall.clock import Clock
from jobhall_server.hall.schemas import Fault, schema_of
from jobhall_server.hall.submits import Submission
from jobhall_server.hall.views import JobTypeView

TURN_SECONDS = 0.01
"""How long checks may have the loop before others have their turn."""


class Pace:
    """One check may take a tenth of a second, and a call may ask for a thousand: streams are served in between."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._taken = 0.0

    async def after(self, began: float) -> None:
        """A check is done that began then, by the monotonic clock."""
        self._taken += self._clock.monotonic() - began
        if self._taken > TURN_SECONDS:
            self._taken = 0.0
            await asyncio.sleep(0)


def settled(submission: Submission, job_type: JobTypeView) -> Submission:
    """The submission with what its type says where it says nothing; SchemaMismatchError names each bad parameter."""
    if job_type.parameters_schema is not None:
        schema, field = job_type.parameters_schema, f"{submission.field}.parameters"
        check(submission.parameters, schema, field, version=job_type.version)
    defaults = defaults_of(job_type.defaults)
    rules = defaults.rules
    return submission._replace(
        type_version=job_type.schema_version,
        priority=defaults.priority if submission.priority is None else submission.priority,
        max_attempts=submission.max_attempts or defaults.max_attempts,
        retry=submission.retry or rules.retry,
        run_timeout_us=rules.run_timeout_us if submission.run_timeout_us is None else submission.run_timeout_us,
        progress_timeout_us=(
            rules.progress_timeout_us if submission.progress_timeout_us is None else submission.progress_timeout_us
        ),
        retention_us=defaults.retention_us if submission.retention_us is None else submission.retention_us,
    )


def check(payload: Payload | None, schema: str, field: str, *, version: int) -> None:
    """SchemaMismatchError names each place of the payload, which is `field`, that does not match the schema."""
    faults = schema_of(schema).faults(payload)
    if faults:
        raise _mismatch(field, faults, version)


def _mismatch(field: str, faults: Sequence[Fault], version: int) -> SchemaMismatchError:
    violations = checks.shown(FieldViolation(field + fault.path, fault.what) for fault in faults)
    more = f", and {len(violations) - 1} more" if len(violations) > 1 else ""
    message = (
        f"{violations[0].field}: {violations[0].description}{more}; see the schema of the job type's version {version}"
    )
    return SchemaMismatchError(message, violations=violations)
