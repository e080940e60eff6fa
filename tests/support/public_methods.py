"""What both clients offer: the method that stands for each RPC, and the examples that docstrings give."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterator
from operator import attrgetter
from textwrap import dedent
from typing import Any

from jobhall import (
    AsyncClient,
    Client,
    Worker,
    aio_admin,
    aio_batches,
    aio_jobs,
    aio_types,
    aio_workers,
    client_admin,
    client_batches,
    client_jobs,
    client_types,
    client_workers,
)

APIS: dict[str, tuple[type, type]] = {
    "": (Client, AsyncClient),
    "jobs": (client_jobs.JobsApi, aio_jobs.AsyncJobsApi),
    "batches": (client_batches.BatchesApi, aio_batches.AsyncBatchesApi),
    "types": (client_types.JobTypesApi, aio_types.AsyncJobTypesApi),
    "workers": (client_workers.WorkersApi, aio_workers.AsyncWorkersApi),
    "admin": (client_admin.AdminApi, aio_admin.AsyncAdminApi),
}
"""By the attribute of a client that has it, the blocking one and its twin."""

METHODS = {
    "JobService": {
        "SubmitJob": "jobs.submit",
        "BatchSubmitJobs": "jobs.submit_many",
        "SubmitJobStream": "jobs.submit_stream",
        "GetJob": "jobs.get_job",
        "BatchGetJobs": "jobs.get_jobs",
        "ListJobs": "jobs.list_jobs",
        "WaitJob": "jobs.wait_for_job",
        "UpdateJob": "jobs.update_job",
        "CancelJob": "jobs.cancel_job",
        "CancelJobs": "jobs.cancel_jobs",
        "RetryJob": "jobs.retry_job",
        "RetryJobs": "jobs.retry_jobs",
        "DeleteJob": "jobs.delete_job",
        "PurgeJobs": "jobs.purge_jobs",
        "GetJobStats": "jobs.stats",
        "ExplainJob": "jobs.explain",
        "ListAttempts": "jobs.attempts",
        "ListJobLogs": "jobs.logs",
        "ListItemErrors": "jobs.item_errors",
        "ListJobEvents": "jobs.events",
        "WatchJobs": "jobs.watch",
    },
    "BatchService": {
        "CreateBatch": "batches.create",
        "GetBatch": "batches.get",
        "ListBatches": "batches.list",
        "UpdateBatch": "batches.update",
        "CancelBatch": "batches.cancel",
        "DeleteBatch": "batches.delete",
    },
    "JobTypeService": {
        "RegisterJobType": "types.register",
        "GetJobType": "types.get",
        "ListJobTypes": "types.list",
        "DeleteJobType": "types.delete",
        "PauseJobType": "types.pause",
        "ResumeJobType": "types.resume",
    },
    "WorkerService": {
        "ClaimTasks": "workers.claim_tasks",
        "ReportTasks": "workers.report_tasks",
        "Heartbeat": "workers.heartbeat",
        "GetWorker": "workers.get",
        "ListWorkers": "workers.list",
        "DrainWorker": "workers.drain",
    },
    "AdminService": {
        "CreateApiKey": "admin.create_api_key",
        "ListApiKeys": "admin.list_api_keys",
        "RevokeApiKey": "admin.revoke_api_key",
        "ListAuditEntries": "admin.audit_entries",
        "ImportJobs": "admin.import_jobs",
        "GetServerInfo": "server_info",
    },
}
"""By service and RPC, the method of both clients."""
PROGRAMS: dict[str, type] = {"Work": Worker}
"""RPCs that are more than a call, and what speaks them."""


def method_of(place: str, *, twin: bool) -> Callable[..., Any]:
    """The function behind `jobs.submit`, of the async client where it is the twin that is meant."""
    api, _, name = place.rpartition(".")
    found: Callable[..., Any] = attrgetter(name)(APIS[api][twin])
    return found


def public(kind: type) -> dict[str, Any]:
    """The methods and properties that a class offers, its bases' too, by name."""
    return {
        name: member
        for name, member in inspect.getmembers_static(kind)
        if not name.startswith("_") and isinstance(member, (property, classmethod, staticmethod, _FUNCTION))
    }


def example_of(documented: object) -> str:
    """The example at the end of a docstring, as code; empty where there is none."""
    paragraphs = (inspect.getdoc(documented) or "").split("\n\n")
    for first in range(1, len(paragraphs)):
        code = dedent("\n\n".join(paragraphs[first:]))
        if _is_code(code):
            return code
    return ""


def clients_calls(code: str) -> Iterator[str]:
    """What the code calls of a client, as `jobs.submit`."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Call) and (words := ast.unparse(node.func).split(".")) and words[0] == "client":
            yield ".".join(words[1:])


def _is_code(text: str) -> bool:
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return False
    return any(isinstance(node, ast.Call) for node in ast.walk(tree))


_FUNCTION = type(_is_code)
