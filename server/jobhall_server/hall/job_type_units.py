"""What the use cases on job types write, each in one unit."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from jobhall.clipping import clip
from jobhall.errors import EtagMismatchError, FieldViolation, JobTypeNotFoundError, JobTypeSchemaConflictError
from jobhall_server.domain.job_defaults import NO_DEFAULTS, JobDefaults
from jobhall_server.hall import checks
from jobhall_server.hall.schemas import differences
from jobhall_server.hall.store import Group, Unit
from jobhall_server.hall.views import JobTypeView

_FIRST_BYTES_MAX = 300


class Registration(NamedTuple):
    """What a client says of a type; schemas are JSON texts, None where anything goes."""

    namespace: str
    name: str
    description: str = ""
    parameters_schema: str | None = None
    result_schema: str | None = None
    defaults: JobDefaults = NO_DEFAULTS


class RegisterJobType(Unit[tuple[JobTypeView, bool]]):
    """Answers the type, and whether it was not there before."""

    def __init__(self, wanted: Registration, *, replace: bool) -> None:
        self._wanted = wanted
        self._replace = replace

    def decide(self, group: Group) -> tuple[JobTypeView, bool]:
        wanted = self._wanted
        namespace_key = group.namespace_key(wanted.namespace)
        known = group.job_type(wanted.namespace, wanted.name)
        created = known is None or known.retired
        if known is None:
            key, _ = group.job_type_key(namespace_key, wanted.name)
            known = JobTypeView(key, wanted.namespace, wanted.name, group.now, revision=0, auto=True)
        elif known.retired:
            known = replace(known, created_at=group.now, paused=False)
        registered = replace(
            self._with_schemas(known),
            description=wanted.description,
            defaults=wanted.defaults.text(),
            auto=False,
            retired=False,
        )
        if registered != known:
            registered = replace(registered, revision=known.revision + 1, updated_at=group.now)
            group.save_job_type(registered)
        return registered, created

    def _with_schemas(self, known: JobTypeView) -> JobTypeView:
        wanted = self._wanted
        fields = ("parameters_schema", "result_schema")
        different = [
            FieldViolation(f"job_type.{field}{pointer}", what)
            for field in fields
            for pointer, what in differences(getattr(known, field), getattr(wanted, field))
        ]
        if not different:
            return known
        # Nobody has said of one that was deleted, or that a worker's Hello registered, that it has no schemas.
        if not (self._replace or known.retired or known.auto):
            shown = checks.shown(different)
            # The message and the violations share the trailers.
            first = clip(f"{shown[0].field} {shown[0].description}", _FIRST_BYTES_MAX)
            raise JobTypeSchemaConflictError(
                f"{wanted.name!r} is registered in {wanted.namespace!r} with other schemas: {first}; "
                "`replace` registers these",
                metadata={"version": str(known.version)},
                violations=shown,
            )
        return replace(
            known,
            parameters_schema=wanted.parameters_schema,
            result_schema=wanted.result_schema,
            version=known.version + (not known.auto),
        )


class SetPaused(Unit[JobTypeView]):
    """Answers the type as it is then."""

    def __init__(self, job_type: JobTypeView, *, paused: bool) -> None:
        self._job_type = job_type
        self._paused = paused

    def decide(self, group: Group) -> JobTypeView:
        known = _known(group, self._job_type)
        if known.paused is self._paused:
            return known
        changed = replace(known, paused=self._paused, revision=known.revision + 1, updated_at=group.now)
        group.save_job_type(changed)
        return changed


class CountWaiting(Unit[int]):
    """How many jobs of the type have not ended, of those that were committed before."""

    def __init__(self, job_type: JobTypeView, etag: str) -> None:
        self._job_type = job_type
        self._etag = etag

    def decide(self, group: Group) -> int:
        return group.jobs_waiting(_known(group, self._job_type, self._etag).key)


class DeleteJobType(Unit[tuple[JobTypeView, int]]):
    """Answers the type as it is then, and how many of its jobs, which have not ended, keep it."""

    def __init__(self, job_type: JobTypeView, etag: str, *, auto_only: bool) -> None:
        self._job_type = job_type
        self._etag = etag
        self._auto_only = auto_only

    def decide(self, group: Group) -> tuple[JobTypeView, int]:
        known = _known(group, self._job_type, self._etag)
        waiting = group.jobs_waiting(known.key)
        if waiting or (self._auto_only and (not known.auto or known.paused)):
            return known, waiting
        retired = replace(known, retired=True, revision=known.revision + 1, updated_at=group.now)
        group.save_job_type(retired)
        return retired, 0


def _known(group: Group, job_type: JobTypeView, etag: str = "") -> JobTypeView:
    """The type as it is now; JobTypeNotFoundError, EtagMismatchError."""
    known = group.job_type(job_type.namespace, job_type.name)
    if known is None or known.retired:
        raise JobTypeNotFoundError(job_type.name, namespace=job_type.namespace)
    if etag and etag != str(known.revision):
        raise EtagMismatchError(f"job type {known.name!r} is at revision {known.revision}, not {etag}: read it again")
    return known
