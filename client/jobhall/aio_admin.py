"""`client.admin` of the async client; `client_admin` is its twin, and says more of each method."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from datetime import datetime, timedelta
from functools import partial
from typing import Unpack

from jobhall import calls_admin
from jobhall.aio_driver import AsyncDriver
from jobhall.filters import ApiKeySelection, AuditSelection, settled
from jobhall.model import Job
from jobhall.model_admin import ApiKey, AuditEntry, CreatedApiKey, ImportedJob
from jobhall.procedures import Procedures


class AsyncAdminApi:
    """`client.admin`: brings jobs in from elsewhere, makes keys for programs, tells who did what; see `AdminApi`."""

    def __init__(self, driver: AsyncDriver, procedures: Procedures) -> None:
        self._driver = driver
        self._procedures = procedures

    async def import_jobs(self, jobs: Iterable[ImportedJob], *, validate_only: bool = False) -> list[Job]:
        """Brings in up to 1000 jobs as they are, with their attempts, logs and errors; all or none.

        await client.admin.import_jobs([ImportedJob(job=job)])
        """
        return await self._driver.run(self._procedures.call(calls_admin.import_jobs(jobs, validate_only=validate_only)))

    async def create_api_key(
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
        """Makes a key for a program that has no login; its secret is told this once.

        secret = (await client.admin.create_api_key("gpu-7", subject="gpu-7", roles=["worker"])).secret
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
        return await self._driver.run(self._procedures.call(call))

    def list_api_keys(self, **selection: Unpack[ApiKeySelection]) -> AsyncIterator[ApiKey]:
        """Goes through the matching API keys, revoked ones too, the newest first.

        async for key in client.admin.list_api_keys(revoked=False):
            print(key.prefix, key.name, key.last_used_at)
        """
        return self._driver.pages(self._procedures, partial(calls_admin.list_api_keys, settled(selection)))

    async def revoke_api_key(self, api_key_id: str) -> ApiKey:
        """Refuses all calls with the key from now on, and ends streams that were opened with it; twice is as once.

        await client.admin.revoke_api_key(key.id)
        """
        return await self._driver.run(self._procedures.call(calls_admin.revoke_api_key(api_key_id)))

    def audit_entries(self, **selection: Unpack[AuditSelection]) -> AsyncIterator[AuditEntry]:
        """Goes through what was done, or refused for want of rights, the latest first.

        async for entry in client.admin.audit_entries(resource_id=job.id):
            print(entry.happened_at, entry.subject, entry.method, entry.code)
        """
        return self._driver.pages(self._procedures, partial(calls_admin.list_audit_entries, settled(selection)))
