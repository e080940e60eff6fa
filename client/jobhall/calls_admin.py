"""Calls of AdminService, but for the one that asks what the server is."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from jobhall.calls import Call, Page, check_size, unary
from jobhall.filters import ApiKeySelection, AuditSelection, api_key_filter_text, audit_filter_text, check_names, each
from jobhall.misfits import names_misfits
from jobhall.model import Job
from jobhall.model_admin import ApiKey, AuditEntry, CreatedApiKey, ImportedJob
from jobhall.v1 import admin_service_pb2 as admin_pb2
from jobhall.wire import job_from_wire
from jobhall.wire_admin import api_key_from_wire, audit_entry_from_wire, imported_job_to_wire
from jobhall.wire_values import when_to_wire

_SERVICE = "AdminService"


@names_misfits
def import_jobs(jobs: Iterable[ImportedJob], *, validate_only: bool) -> Call[list[Job]]:
    """Brings up to 1000 jobs in, all or none; the answer is the jobs in that order, briefly."""
    imported = [imported_job_to_wire(job, field=f"jobs[{place}]") for place, job in enumerate(jobs)]
    request = admin_pb2.ImportJobsRequest(jobs=imported, validate_only=validate_only)
    check_size(request)
    return unary(
        _SERVICE,
        request,
        admin_pb2.ImportJobsResponse,
        lambda answer: [job_from_wire(job) for job in answer.jobs],
    )


@names_misfits
def create_api_key(
    name: str,
    *,
    subject: str,
    organization_id: str,
    roles: Iterable[str],
    namespaces: Iterable[str],
    job_types: Iterable[str],
    expires: datetime | timedelta | None,
) -> Call[CreatedApiKey]:
    """Makes a key; sent again it would make another one, so it is not."""
    key = admin_pb2.ApiKey(
        name=name,
        subject=subject,
        organization_id=organization_id,
        roles=each(roles, field="api_key.roles"),
        namespaces=each(namespaces, field="api_key.namespaces"),
        job_types=each(job_types, field="api_key.job_types"),
        expire_time=when_to_wire(expires, field="api_key.expire_time"),
    )
    return unary(
        _SERVICE,
        admin_pb2.CreateApiKeyRequest(api_key=key),
        admin_pb2.CreateApiKeyResponse,
        lambda answer: CreatedApiKey(api_key=api_key_from_wire(answer.api_key), secret=answer.secret),
        repeatable=False,
    )


@names_misfits
def list_api_keys(selection: ApiKeySelection, *, page_token: str) -> Call[Page[ApiKey]]:
    """Reads one page of the keys."""
    check_names(selection, ApiKeySelection)
    request = admin_pb2.ListApiKeysRequest(
        page_token=page_token, filter=api_key_filter_text(selection), order_by=selection.get("order_by", "")
    )
    return unary(
        _SERVICE,
        request,
        admin_pb2.ListApiKeysResponse,
        lambda answer: Page([api_key_from_wire(key) for key in answer.api_keys], answer.next_page_token),
    )


@names_misfits
def revoke_api_key(api_key_id: str) -> Call[ApiKey]:
    """Revokes a key; the answer is the key, revoked."""
    return unary(
        _SERVICE,
        admin_pb2.RevokeApiKeyRequest(api_key_id=api_key_id),
        admin_pb2.RevokeApiKeyResponse,
        lambda answer: api_key_from_wire(answer.api_key),
    )


@names_misfits
def list_audit_entries(selection: AuditSelection, *, page_token: str) -> Call[Page[AuditEntry]]:
    """Reads one page of the audit."""
    check_names(selection, AuditSelection)
    request = admin_pb2.ListAuditEntriesRequest(
        page_token=page_token, filter=audit_filter_text(selection), order_by=selection.get("order_by", "")
    )
    return unary(
        _SERVICE,
        request,
        admin_pb2.ListAuditEntriesResponse,
        lambda answer: Page([audit_entry_from_wire(entry) for entry in answer.audit_entries], answer.next_page_token),
    )
