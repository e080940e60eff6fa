"""`jobhall type`: registers, lists, shows, deletes, pauses and resumes job types."""

from __future__ import annotations

import sys
from typing import Annotated, Any

from cyclopts import App, Parameter

from jobhall.cli.arguments import read_document, source_of
from jobhall.cli.attempts import Attempts
from jobhall.cli.context import Context, Etag, Injected, Namespace
from jobhall.cli.exits import Exit, UsageError, explain
from jobhall.cli.lists import Limit, show_list
from jobhall.cli.records import job_type_rows
from jobhall.cli.remarks import remark
from jobhall.cli.tables import JOB_TYPES
from jobhall.cli.times import read_span
from jobhall.errors import JobTypeSchemaConflictError
from jobhall.model_types import JobDefaults, JobType

job_type = App(name="type", help="Registers job types, lists them, and pauses them.")

Name = Annotated[str, Parameter(name="NAME", help="`name` or `category:name`.")]
RegisteredIn = Annotated[
    str, Parameter(name=["--namespace", "-n"], help="Where it is registered; @global is for every namespace.")
]


@job_type.command
def ls(
    *,
    namespace: Namespace = "",
    filter: Annotated[str, Parameter(help="Conditions on name, namespace or paused.")] = "",  # noqa: A002
    limit: Limit = None,
    context: Injected,
) -> Exit:
    """Lists the job types of a namespace and those of @global, by name.

    Piped, a line each: name, namespace, version, workers, jobs that wait, run,
    and failed, and paused where it is, with tabs between them.

    For example:

      jobhall type ls
      jobhall type ls --filter 'paused = true' --json
    """
    with context.connect() as client:
        show_list(JOB_TYPES, client.types.list(namespace=namespace, filter=filter), context, limit=limit)
    return Exit.OK


@job_type.command
def get(name: Name, /, *, namespace: RegisteredIn = "", context: Injected) -> Exit:
    """Shows all there is to know of a job type: schemas, defaults, workers.

    For example:

      jobhall type get resize
      jobhall type get public:images:resize --json | jq .parameters_schema
    """
    with context.connect() as client:
        it = client.types.get(name, namespace=namespace)
    context.output.record(it, job_type_rows(it))
    return Exit.OK


@job_type.command
def register(
    name: Name,
    /,
    *,
    namespace: RegisteredIn = "",
    parameters_schema: Annotated[
        str | None, Parameter(help="A file with the JSON Schema of parameters; - is stdin.", allow_leading_hyphen=True)
    ] = None,
    result_schema: Annotated[str | None, Parameter(help="The same of results.", allow_leading_hyphen=True)] = None,
    description: Annotated[str, Parameter(help="What it does, for people.")] = "",
    priority: Annotated[int | None, Parameter(help="-100 to 100, higher first.", allow_leading_hyphen=True)] = None,
    attempts: Attempts | None = None,
    retention: Annotated[str | None, Parameter(help="How long to keep its jobs after their end, such as 7d.")] = None,
    replace: Annotated[bool, Parameter(help="Other schemas become its next version.")] = False,
    context: Injected,
) -> Exit:
    """Registers a job type, with schemas that its jobs are checked by.

    A worker registers what it serves by itself, without schemas. What is said
    of priority, attempts and times holds for jobs that do not say it themselves.

    For example:

      jobhall type register resize --parameters-schema resize.json
      jobhall type register charge --max-attempts 6 --run-timeout 5m --retention 7d
      jobhall type register mail --namespace @global --description 'sends a mail'
    """
    if parameters_schema == result_schema == "-":
        raise UsageError("standard input can be one of the schemas, not both")
    said: dict[str, Any] = {
        "namespace": namespace,
        "description": description,
        "parameters_schema": _read_schema(parameters_schema, option="--parameters-schema"),
        "result_schema": _read_schema(result_schema, option="--result-schema"),
        "replace": replace,
    }
    defaults = JobDefaults(
        priority=priority, retention=read_span(retention, option="--retention"), **(attempts or Attempts()).options()
    )
    with context.connect() as client:
        try:
            it = client.types.register(name, defaults=None if defaults == JobDefaults() else defaults, **said)
        except JobTypeSchemaConflictError as conflict:
            return _tell_conflict(conflict)
    return _said(it, "registered", context)


@job_type.command
def rm(name: Name, /, *, namespace: RegisteredIn = "", etag: Etag = "", context: Injected) -> Exit:
    """Deletes a job type that no job waits or runs of.

    A worker that serves it registers it again when it next connects.

    For example:

      jobhall type rm resize
    """
    with context.connect() as client:
        deleted = client.types.delete(name, namespace=namespace, etag=etag)
    _said(deleted, "deleted", context)
    if deleted.worker_count:
        names = " ".join(deleted.worker_names)
        remark(f"nobody can submit it until one of its workers connects anew: {names}")
    return Exit.OK


@job_type.command
def pause(name: Name, /, *, namespace: RegisteredIn = "", context: Injected) -> Exit:
    """Holds the jobs of a type back: submits are accepted, what runs goes on.

    For example:

      jobhall type pause resize
    """
    with context.connect() as client:
        return _said(client.types.pause(name, namespace=namespace), "paused", context)


@job_type.command
def resume(name: Name, /, *, namespace: RegisteredIn = "", context: Injected) -> Exit:
    """Ends a pause.

    For example:

      jobhall type resume resize
    """
    with context.connect() as client:
        return _said(client.types.resume(name, namespace=namespace), "resumed", context)


def _read_schema(path: str | None, *, option: str) -> Any:
    schema = read_document(path, option=option)
    if path is not None and not isinstance(schema, dict | bool):
        raise UsageError(f"{option}: {source_of(path)} is no schema: neither an object nor true or false")
    return schema


def _said(it: JobType, verb: str, context: Context) -> Exit:
    context.output.said(it, verb, it.name, f"version {it.version}")
    return Exit.OK


def _tell_conflict(conflict: JobTypeSchemaConflictError) -> Exit:
    """The refusal, and a line for each place where the schemas differ."""
    remark(explain(conflict, with_fields=False))
    for violation in conflict.violations:
        print(f"  {violation.field}: {violation.description}", file=sys.stderr)
    print("  --replace registers these as the next version", file=sys.stderr)
    return Exit.FAILED
