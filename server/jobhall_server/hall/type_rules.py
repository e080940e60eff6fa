"""What a job type asks of its jobs: parameters and results that match its schemas, and what a submit leaves open."""

from __future__ import annotations

from collections.abc import Sequence

from jobhall.errors import FieldViolation, SchemaMismatchError
from jobhall_server.domain.job import Payload
from jobhall_server.domain.job_defaults import defaults_of
from jobhall_server.hall import checks
from jobhall_server.hall.schemas import Fault, schema_of
from jobhall_server.hall.submits import Submission
from jobhall_server.hall.views import JobTypeView


def settled(submission: Submission, job_type: JobTypeView) -> Submission:
    """The submission with what its type says where it says nothing; SchemaMismatchError names each bad parameter."""
    if job_type.parameters_schema is not None:
        check(submission.parameters, job_type.parameters_schema, f"{submission.field}.parameters")
    checked = job_type.parameters_schema is not None or job_type.result_schema is not None
    defaults = defaults_of(job_type.defaults)
    rules = defaults.rules
    return submission._replace(
        type_version=job_type.version if checked else 0,
        priority=defaults.priority if submission.priority is None else submission.priority,
        max_attempts=submission.max_attempts or defaults.max_attempts,
        retry=submission.retry or rules.retry,
        run_timeout_us=rules.run_timeout_us if submission.run_timeout_us is None else submission.run_timeout_us,
        progress_timeout_us=(
            rules.progress_timeout_us if submission.progress_timeout_us is None else submission.progress_timeout_us
        ),
        retention_us=defaults.retention_us if submission.retention_us is None else submission.retention_us,
    )


def check(payload: Payload | None, schema: str, field: str) -> None:
    """SchemaMismatchError names each place of the payload, which is `field`, that does not match the schema."""
    faults = schema_of(schema).faults(payload)
    if faults:
        raise _mismatch(field, faults)


def _mismatch(field: str, faults: Sequence[Fault]) -> SchemaMismatchError:
    violations = checks.shown(FieldViolation(field + fault.path, fault.what) for fault in faults)
    more = f", and {len(violations) - 1} more" if len(violations) > 1 else ""
    message = f"{violations[0].field}: {violations[0].description}{more}; see the job type's schema"
    return SchemaMismatchError(message, violations=violations)
