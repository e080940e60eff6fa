"""`jobhall get` and `jobhall ls`: one job, and many."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from jobhall.cli.arguments import read_labels, read_states
from jobhall.cli.bulk import Filter
from jobhall.cli.context import Injected, Labels, Namespace
from jobhall.cli.exits import Exit
from jobhall.cli.lists import Limit, page_size_of, show_list
from jobhall.cli.tables import JOBS
from jobhall.cli.times import read_moment

if TYPE_CHECKING:
    from jobhall.calls import PageOptions


def get(
    job_id: Annotated[str, Parameter(help="The job's id.")],
    /,
    *,
    checkpoint: Annotated[bool, Parameter(help="Its last checkpoint as well.")] = False,
    context: Injected,
) -> Exit:
    """Shows all there is to know of a job, its first 100 item errors included.

    For example:

      jobhall get 01977c0e-5b7a-7d2c-9b5e-0c1d2e3f4a5b --checkpoint
      jobhall get --json 01977c0e-5b7a-7d2c-9b5e-0c1d2e3f4a5b | jq .result
    """
    with context.connect() as client:
        context.output.job(client.jobs.get_job(job_id, include_errors=True, include_checkpoint=checkpoint))
    return Exit.OK


def ls(
    *,
    namespace: Namespace = "",
    state: Annotated[
        tuple[str, ...], Parameter(name=["--state", "-s"], help="Only these, such as failed or pending,running.")
    ] = (),
    job_type: Annotated[tuple[str, ...], Parameter(name=["--type", "-t"], help="Only this type; repeat it.")] = (),
    owner: Annotated[str, Parameter(help="Only this subject's.")] = "",
    label: Labels = (),
    path: Annotated[str, Parameter(help="Only those that concern this resource.")] = "",
    since: Annotated[str | None, Parameter(help="Submitted since: 2h ago (s, m, h, d, w), or a time.")] = None,
    until: Annotated[str | None, Parameter(help="Submitted before: the same.")] = None,
    batch: Annotated[str, Parameter(help="Only those of the batch of this id.")] = "",
    filter: Filter = "",  # noqa: A002 - the option's name
    order_by: Annotated[
        Literal["create-time", "update-time", "create-time-desc", "update-time-desc"] | None,
        Parameter(help="create-time-desc, the newest first, if not given."),
    ] = None,
    limit: Limit = None,
    context: Injected,
) -> Exit:
    """Lists jobs, the newest first.

    Piped, a line each: id, type, state, progress, attempt and time of submit,
    with tabs between them.

    For example:

      jobhall ls --state failed --since 2h
      jobhall ls --type resize --limit 0 | cut -f1 | xargs -r jobhall cancel
      jobhall ls --filter 'error_code = RATE_LIMITED AND priority > 0'
      jobhall ls --json --state failed | jq .parameters
    """
    now = datetime.now(UTC)
    options: PageOptions = {
        "namespace": namespace,
        "states": read_states(state),
        "job_types": job_type,
        "owner": owner,
        "labels": read_labels(label),
        "path": path,
        "batch_id": batch,
        "filter": filter,
        "order_by": _order(order_by),
        "page_size": page_size_of(limit),
        "full": context.as_json,
    }
    if (moment := read_moment(since, option="--since", now=now)) is not None:
        options["created_after"] = moment
    if (moment := read_moment(until, option="--until", now=now)) is not None:
        options["created_before"] = moment
    with context.connect() as client:
        show_list(JOBS, client.jobs.list_jobs(**options), context, limit=limit)
    return Exit.OK


def _order(name: str | None) -> str:
    """`update-time-desc` as the contract says it."""
    if name is None:
        return ""
    field, _, descending = name.partition("-time")
    return f"{field}_time{' desc' if descending else ''}"
