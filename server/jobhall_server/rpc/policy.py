"""Who may call what: one line per RPC; a method that is served without one keeps the server from starting."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from types import MappingProxyType
from typing import NamedTuple

from jobhall.errors import RoleRequiredError
from jobhall_server.domain.access import Principal


class Role(Enum):
    """What a caller must be. An admin may call everything."""

    PUBLIC = "public"
    """Nobody is asked who they are."""
    USER = "user"
    WORKER = "worker"
    ADMIN = "admin"


class Rule(NamedTuple):
    """How one RPC is treated. `brief`: its success is logged at debug, since there are thousands a second; `held`:
    it may last for minutes without work being done, so that a drain ends it at once.
    """

    role: Role
    brief: bool = False
    held: bool = False


_READ = Rule(Role.USER, brief=True)
_CHANGE = Rule(Role.USER)
_WORK = Rule(Role.WORKER)
_ADMIN = Rule(Role.ADMIN)
_PUBLIC = Rule(Role.PUBLIC, brief=True)
_PUBLIC_STREAM = Rule(Role.PUBLIC, brief=True, held=True)

POLICY: Mapping[str, Rule] = MappingProxyType(
    {
        f"/{service}/{method}": rule
        for service, methods in {
            "jobhall.v1.JobService": {
                "SubmitJob": Rule(Role.USER, brief=True),
                "BatchSubmitJobs": Rule(Role.USER, brief=True),
                "SubmitJobStream": Rule(Role.USER, held=True),
                "GetJob": _READ,
                "BatchGetJobs": _READ,
                "ListJobs": _READ,
                "WaitJob": _READ,
                "UpdateJob": _CHANGE,
                "CancelJob": _CHANGE,
                "CancelJobs": _CHANGE,
                "RetryJob": _CHANGE,
                "RetryJobs": _CHANGE,
                "DeleteJob": _CHANGE,
                "PurgeJobs": _CHANGE,
                "GetJobStats": _READ,
                "ExplainJob": _READ,
                "ListAttempts": _READ,
                "ListJobLogs": _READ,
                "ListItemErrors": _READ,
                "ListJobEvents": _READ,
                # Not held: the feed ends it. A task more for each open watch would be half of its memory.
                "WatchJobs": Rule(Role.USER, brief=True),
            },
            "jobhall.v1.JobTypeService": {
                "RegisterJobType": _CHANGE,
                "GetJobType": _READ,
                "ListJobTypes": _READ,
                "DeleteJobType": _CHANGE,
                "PauseJobType": _CHANGE,
                "ResumeJobType": _CHANGE,
            },
            "jobhall.v1.WorkerService": {
                # Not held: the hall tells its workers to go, and they keep what they hold.
                "Work": _WORK,
                "ClaimTasks": Rule(Role.WORKER, brief=True, held=True),
                "ReportTasks": Rule(Role.WORKER, brief=True),
                "Heartbeat": Rule(Role.WORKER, brief=True),
                "GetWorker": _READ,
                "ListWorkers": _READ,
                "DrainWorker": _ADMIN,
            },
            "jobhall.v1.BatchService": {
                "CreateBatch": _CHANGE,
                "GetBatch": _READ,
                "ListBatches": _READ,
                "UpdateBatch": _CHANGE,
                "CancelBatch": _CHANGE,
                "DeleteBatch": _CHANGE,
            },
            "jobhall.v1.AdminService": {
                "CreateApiKey": _ADMIN,
                "ListApiKeys": _ADMIN,
                "RevokeApiKey": _ADMIN,
                "ListAuditEntries": _ADMIN,
                "ImportJobs": _ADMIN,
                "GetServerInfo": _READ,
            },
            "grpc.health.v1.Health": {"Check": _PUBLIC, "List": _PUBLIC, "Watch": _PUBLIC_STREAM},
            "grpc.reflection.v1.ServerReflection": {"ServerReflectionInfo": _PUBLIC_STREAM},
            "grpc.reflection.v1alpha.ServerReflection": {"ServerReflectionInfo": _PUBLIC_STREAM},
        }.items()
        for method, rule in methods.items()
    }
)
"""Full method name → its rule."""


class PolicyMissingError(Exception):
    """A method is served that nobody decided about; the server does not start."""


def check_complete(methods: Iterable[str]) -> None:
    """PolicyMissingError when one of these full method names has no rule."""
    missing = sorted(set(methods) - POLICY.keys())
    if missing:
        raise PolicyMissingError(f"no rule in rpc/policy.py for {', '.join(missing)}")


def check_role(rule: Rule, principal: Principal) -> None:
    """RoleRequiredError when the caller may not call at all."""
    if principal.admin or rule.role.value in principal.roles:
        return
    role = rule.role.value
    raise RoleRequiredError(f"this call needs the role {role!r}", metadata={"role": role})
