"""`client.admin` of the blocking client; `aio_admin` is its twin, and the calls of both stand in `calls_admin`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from functools import partial
from typing import Unpack

from jobhall import calls_admin
from jobhall.client_driver import Driver
from jobhall.filters import ApiKeySelection, AuditSelection, settled
from jobhall.model import Job
from jobhall.model_admin import ApiKey, AuditEntry, CreatedApiKey, ImportedJob
from jobhall.procedures import Procedures


class AdminApi:
    """`client.admin`: brings jobs in from elsewhere, makes keys for programs, and tells who did what.

    For those who run the server. One that has no API keys and no audit yet says so: ApiError, UNIMPLEMENTED.
    """

    def __init__(self, driver: Driver, procedures: Procedures) -> None:
        self._driver = driver
        self._procedures = procedures

    def import_jobs(self, jobs: Iterable[ImportedJob], *, validate_only: bool = False) -> list[Job]:
        """Brings in up to 1000 jobs as they are, with their attempts, logs and errors; all or none.

        Returns them in that order, briefly. A job that a worker held elsewhere is PENDING here, one that was being
        cancelled CANCELLED. Its job type, and its batch, have to be here before. Raises JobIdReusedError where a job of
        that id is here, so also when the answer of the first try was lost; FieldInvalidError, whose `violations` name
        all that cannot have been so; MessageTooLargeError beyond 4 MiB: import fewer at a time.

            job = old.jobs.get_job(job_id, include_checkpoint=True)
            client.admin.import_jobs([ImportedJob(job=job, attempts=tuple(old.jobs.attempts(job_id)))])
        """
        return self._driver.run(self._procedures.call(calls_admin.import_jobs(jobs, validate_only=validate_only)))

    def create_api_key(
        self,
        name: str,
        *,
        subject: str = "",
        organization_id: str = "",
        roles: Iterable[str] = (),
        namespaces: Iterable[str] = (),
        job_types: Iterable[str] = (),
        expires: datetime | timedelta | None = None,
    ) -> CreatedApiKey:
        """Makes a key for a program that has no login: calls with it are the subject's, with these roles.

        Its secret is told this once. `namespaces` and `job_types` bound it, none means all; `expires` is a moment, or
        how long from now. Raises RoleRequiredError where it would have more rights than you.

            secret = client.admin.create_api_key("gpu-7", subject="gpu-7", roles=["worker"]).secret
        """
        call = calls_admin.create_api_key(
            name,
            subject=subject,
            organization_id=organization_id,
            roles=roles,
            namespaces=namespaces,
            job_types=job_types,
            expires=expires,
        )
        return self._driver.run(self._procedures.call(call))

    def list_api_keys(self, **selection: Unpack[ApiKeySelection]) -> Iterator[ApiKey]:
        """Goes through the matching API keys, revoked ones too, the newest first.

        for key in client.admin.list_api_keys(revoked=False):
            print(key.prefix, key.name, key.last_used_at)
        """
        return self._driver.pages(self._procedures, partial(calls_admin.list_api_keys, settled(selection)))

    def revoke_api_key(self, api_key_id: str) -> ApiKey:
        """Refuses all calls with the key from now on, and ends streams that were opened with it; twice is as once.

        client.admin.revoke_api_key(key.id)
        """
        return self._driver.run(self._procedures.call(calls_admin.revoke_api_key(api_key_id)))

    def audit_entries(self, **selection: Unpack[AuditSelection]) -> Iterator[AuditEntry]:
        """Goes through what was done, or refused for want of rights, the latest first.

        for entry in client.admin.audit_entries(resource_id=job.id):
            print(entry.happened_at, entry.subject, entry.method, entry.code)
        """
        return self._driver.pages(self._procedures, partial(calls_admin.list_audit_entries, settled(selection)))
