"""Job types, pb2 ↔ what the hall knows of them; and the filter and order of their lists."""

from __future__ import annotations

from jobhall.errors import FieldInvalidError, FilterUnsupportedError
from jobhall.limits import ATTEMPTS_MAX, NAMESPACE_DEFAULT, PRIORITY_MAX, PRIORITY_MIN
from jobhall.v1 import job_type_pb2
from jobhall_server.domain.job_defaults import JobDefaults, defaults_of
from jobhall_server.domain.rules import NO_RULES, Rules
from jobhall_server.hall.checks import check_range
from jobhall_server.hall.job_type_units import Registration
from jobhall_server.hall.job_types import JobTypeFilter, JobTypeOrder, JobTypeReport
from jobhall_server.rpc.convert import duration, timestamp
from jobhall_server.rpc.convert_rules import policy_in, policy_out, retention_in, timeout_in
from jobhall_server.rpc.convert_stats import counts_out
from jobhall_server.rpc.filter_language import check_equals, conditions, fail, invalid, only_one

_ORDERS = {order.value: order for order in JobTypeOrder} | {
    "": JobTypeOrder.NAME,
    "name asc": JobTypeOrder.NAME,
    "create_time asc": JobTypeOrder.CREATED,
}
_TRUTH = {"true": True, "false": False}


def registration_in(message: job_type_pb2.JobType) -> Registration:
    """What a client registers; what the server sets is not read."""
    if not message.name:
        raise FieldInvalidError("job_type.name", "is required")
    return Registration(
        namespace=message.namespace or NAMESPACE_DEFAULT,
        name=message.name,
        description=message.description,
        parameters_schema=message.parameters_schema or None,
        result_schema=message.result_schema or None,
        defaults=_defaults_in(message.defaults, "job_type.defaults"),
    )


def job_type_out(report: JobTypeReport) -> job_type_pb2.JobType:
    """A registered type, as it is just now."""
    known = report.job_type
    return job_type_pb2.JobType(
        name=known.name,
        namespace=known.namespace,
        description=known.description,
        parameters_schema=known.parameters_schema or "",
        result_schema=known.result_schema or "",
        defaults=_defaults_out(defaults_of(known.defaults)) if known.defaults is not None else None,
        version=known.version,
        paused=known.paused,
        worker_count=report.workers.count,
        worker_names=report.workers.names,
        counts=counts_out(report.counts),
        create_time=timestamp(known.created_at),
        update_time=timestamp(known.updated_at),
        etag=str(known.revision),
    )


def filter_in(text: str) -> JobTypeFilter:
    """Which types a list is to name; errors as those of `parse_filter`."""
    chosen: dict[str, frozenset[str]] = {}
    paused: bool | None = None
    for alternatives in conditions(text):
        check_equals(alternatives)
        first = alternatives[0]
        if first.field in ("name", "namespace"):
            values = frozenset(choice.value for choice in alternatives)
            chosen[first.field] = chosen.get(first.field, values) & values
        elif first.field == "paused":
            only_one(alternatives, "name and namespace")
            if (wanted := _TRUTH.get(first.value.lower())) is None:
                invalid(f"{first.value[:80]!r} is neither true nor false", first.at)
            if paused is not None and paused is not wanted:
                fail("asks for two values of paused at once, which nothing has", first.at)
            paused = wanted
        else:
            fail(f"names {first.field[:80]!r}; fields are name, namespace and paused", first.at)
    return JobTypeFilter(chosen.get("name"), chosen.get("namespace"), paused)


def order_in(text: str) -> JobTypeOrder:
    """In which order a list is to come."""
    order = _ORDERS.get(" ".join(text.split()))
    if order is None:
        names = ", ".join(f"`{order.value}`" for order in JobTypeOrder)
        raise FilterUnsupportedError(f"{text[:80]!r} is no order of job types; those are {names}", field="order_by")
    return order


def _defaults_in(message: job_type_pb2.JobDefaults, field: str) -> JobDefaults:
    if message.HasField("priority"):
        check_range(message.priority, PRIORITY_MIN, PRIORITY_MAX, f"{field}.priority")
    if message.max_attempts:
        check_range(message.max_attempts, 1, ATTEMPTS_MAX, f"{field}.max_attempts")
    given = message.HasField
    rules = Rules(
        policy_in(message.retry_policy, f"{field}.retry_policy") if given("retry_policy") else NO_RULES.retry,
        timeout_in(message.run_timeout, f"{field}.run_timeout") if given("run_timeout") else None,
        timeout_in(message.progress_timeout, f"{field}.progress_timeout") if given("progress_timeout") else None,
    )
    return JobDefaults(
        priority=message.priority if given("priority") else None,
        max_attempts=message.max_attempts,
        rules=rules,
        retention_us=retention_in(message.retention, f"{field}.retention") if given("retention") else None,
    )


def _defaults_out(defaults: JobDefaults) -> job_type_pb2.JobDefaults:
    message = job_type_pb2.JobDefaults(priority=defaults.priority, max_attempts=defaults.max_attempts)
    rules = defaults.rules
    if rules.retry != NO_RULES.retry:
        message.retry_policy.CopyFrom(policy_out(rules.retry))
    for name, us in (
        ("run_timeout", rules.run_timeout_us),
        ("progress_timeout", rules.progress_timeout_us),
        ("retention", defaults.retention_us),
    ):
        if us is not None:
            getattr(message, name).CopyFrom(duration(us / 1e6))
    return message
