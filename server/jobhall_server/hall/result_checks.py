"""Results against the schema of the version under which their job was submitted, before the store hears of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from jobhall.errors import SchemaMismatchError
from jobhall.limits import TEXT_BYTES_MAX
from jobhall.states import FailureKind
from jobhall_server.domain.job import JobFailure, Lease
from jobhall_server.hall.frames import CompletedBody, FailedBody, Report, ReportKind
from jobhall_server.hall.reports import Judged
from jobhall_server.hall.type_rules import check

if TYPE_CHECKING:
    from jobhall_server.hall.hall import Hall

_SCHEMAS_KEPT_MAX = 1000


class Facts(Protocol):
    """What is known here of a task."""

    @property
    def queue_key(self) -> int:
        """The queue of its job."""

    @property
    def type_version(self) -> int:
        """Of the type, when the job was submitted; 0 where it had no schemas."""


class Checked:
    """Reports as the store is to take them: a result that does not match is a failure of its attempt."""

    def __init__(self, reports: Sequence[Report], mismatches: dict[int, SchemaMismatchError]) -> None:
        self.reports = reports
        self._mismatches = mismatches

    def tell(self, judged: Judged) -> None:
        """Whoever reported such a result hears of it, unless the report was refused for another reason."""
        for place, error in self._mismatches.items():
            judged.refused.setdefault(place, error)


class ResultChecks:
    """Checks what workers report as done. Costs nothing while no type has, or had, a schema for results."""

    def __init__(self, hall: Hall) -> None:
        self._registry = hall.registry
        self._clock = hall.clock
        self._pace = hall.pace
        self._reads = hall.store.reads
        self._schemas: dict[tuple[int, int], str | None] = {}

    async def checked(
        self, reports: Sequence[Report], known: Callable[[bytes], Facts | None] = lambda _: None
    ) -> Checked:
        """The reports of one unit; `known` tells of a task by its token, else the database does."""
        if not self._registry.checks_results:
            return Checked(reports, {})
        results = {place: report for place, report in enumerate(reports) if report.kind is ReportKind.COMPLETED}
        facts = {place: found for place, report in results.items() if (found := known(report.token)) is not None}
        versions = {place: (found.queue_key, found.type_version) for place, found in facts.items()}
        leases = {place: Lease.parse(report.token) for place, report in results.items() if place not in versions}
        job_keys = {place: lease.job_key for place, lease in leases.items() if lease is not None}
        if job_keys:
            stored = await self._reads.type_versions(list(set(job_keys.values())))
            versions |= {place: stored[key] for place, key in job_keys.items() if key in stored}
        mismatches: dict[int, SchemaMismatchError] = {}
        for place, (queue_key, version) in versions.items():
            schema = await self._schema(queue_key, version) if version else None
            body = results[place].body
            if schema is not None and isinstance(body, CompletedBody):
                began = self._clock.monotonic()
                try:
                    check(body.result, schema, "completed.result", version=version)
                except SchemaMismatchError as error:
                    mismatches[place] = error
                await self._pace.after(began)
        taken = [
            _failed(report, mismatches[place]) if place in mismatches else report
            for place, report in enumerate(reports)
        ]
        return Checked(taken, mismatches)

    async def _schema(self, queue_key: int, version: int) -> str | None:
        job_type = self._registry.ruled.get(queue_key)
        if job_type is not None and job_type.version == version:
            return job_type.result_schema
        place = (queue_key, version)
        if place not in self._schemas:
            _, found = await self._reads.schemas(await self._reads.type_of_queue(queue_key), version)
            if len(self._schemas) >= _SCHEMAS_KEPT_MAX:
                self._schemas.clear()
            self._schemas[place] = found
        return self._schemas[place]


def _failed(report: Report, error: SchemaMismatchError) -> Report:
    """With the digest of what was reported, so that the same report again is known."""
    assert isinstance(report.body, CompletedBody)
    told = [{"field": violation.field, "description": violation.description} for violation in error.violations]
    failure = JobFailure(
        kind=FailureKind.SCHEMA_MISMATCH,
        message=error.message.encode()[:TEXT_BYTES_MAX].decode(errors="ignore"),
        code=error.reason,
        retryable=False,
        details=json.dumps({"violations": told}),
    )
    body = FailedBody(failure, report.body.digest, report.body.progress, retryable=False)
    return Report(report.seq, report.token, ReportKind.FAILED, body)
