"""`jobhall batch`: creates, shows, changes, awaits and ends batches of jobs."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from jobhall.cli.batch_creating import CompletionPolicyName, create, read_completion_policy
from jobhall.cli.changing import change_each
from jobhall.cli.context import Etag, Injected, Namespace
from jobhall.cli.exits import Exit, UsageError
from jobhall.cli.lists import Limit, page_size_of, show_list
from jobhall.cli.remarks import remark
from jobhall.cli.tables import BATCHES
from jobhall.cli.times import read_span
from jobhall.states import BatchState

if TYPE_CHECKING:
    from jobhall.calls_batches import BatchPageOptions

batch = App(name="batch", help="Groups jobs: creates batches, shows how far they are, waits for them.")
batch.command(create)

BatchId = Annotated[str, Parameter(name="BATCH_ID", help="Its id, as `batch ls` shows it.")]
BatchIds = Annotated[str, Parameter(name="BATCH_ID", help="The batches' ids.")]


@batch.command
def get(batch_id: BatchId, /, *, context: Injected) -> Exit:
    """Shows all there is to know of a batch: counts, percent, state.

    Its jobs are listed by `jobhall ls --batch BATCH_ID`.

    For example:

      jobhall batch get 01977c0e-5b7a-7d2c-9b5e-0c1d2e3f4a5b
    """
    with context.connect() as client:
        context.output.batch(client.batches.get(batch_id))
    return Exit.OK


@batch.command
def ls(
    *,
    namespace: Namespace = "",
    state: Annotated[
        tuple[Literal["pending", "processing", "completed", "failed"], ...],
        Parameter(name=["--state", "-s"], help="Only these; repeat it."),
    ] = (),
    name: Annotated[str, Parameter(help="Only those of this name.")] = "",
    owner: Annotated[str, Parameter(help="Only this subject's.")] = "",
    filter: Annotated[str, Parameter(help="Conditions, such as 'closed = false'.")] = "",  # noqa: A002
    limit: Limit = None,
    context: Injected,
) -> Exit:
    """Lists batches, the newest first.

    Piped, a line each: id, name, state, jobs, percent, failed and time of
    creation, with tabs between them.

    For example:

      jobhall batch ls --state processing
      jobhall batch ls --filter 'closed = false' --json
    """
    options: BatchPageOptions = {
        "namespace": namespace,
        "states": [BatchState[word.upper()] for word in state],
        "name": name,
        "owner": owner,
        "filter": filter,
        "page_size": page_size_of(limit),
    }
    with context.connect() as client:
        show_list(BATCHES, client.batches.list(**options), context, limit=limit)
    return Exit.OK


@batch.command
def update(
    batch_id: BatchId,
    /,
    *,
    name: Annotated[str | None, Parameter(help="Its name, for people.")] = None,
    active: Annotated[
        bool | None, Parameter(negative="--inactive", help="Hand its jobs out, or hold them back.")
    ] = None,
    completion_policy: CompletionPolicyName = None,
    etag: Etag = "",
    context: Injected,
) -> Exit:
    """Changes a batch; its jobs that run go on when it is made inactive.

    For example:

      jobhall batch update 01977c0e-5b7a-7d2c-9b5e-0c1d2e3f4a5b --inactive
      jobhall batch update 01977c0e-5b7a-7d2c-9b5e-0c1d2e3f4a5b --active --name nightly
    """
    said = {"name": name, "active": active, "completion_policy": read_completion_policy(completion_policy)}
    changes: dict[str, Any] = {field: value for field, value in said.items() if value is not None}
    if not changes:
        raise UsageError("say what to change: --name, --active, --inactive or --completion-policy")
    with context.connect() as client:
        it = client.batches.update(batch_id, etag=etag, **changes)
    context.output.said(it, "updated", it.id, it.state)
    return Exit.OK


@batch.command(usage="Usage: jobhall batch close [OPTIONS] BATCH_ID...")
def close(*batch_ids: BatchIds, context: Injected) -> Exit:
    """Closes batches: no more jobs join them, and so they can end.

    For example:

      jobhall batch close 01977c0e-5b7a-7d2c-9b5e-0c1d2e3f4a5b
    """
    with context.connect() as client:
        return change_each(batch_ids, client.batches.close, context, verb="closed", noun="batch")


@batch.command(usage="Usage: jobhall batch cancel [OPTIONS] BATCH_ID...")
def cancel(
    *batch_ids: BatchIds,
    reason: Annotated[str, Parameter(help="Why, for people.")] = "",
    context: Injected,
) -> Exit:
    """Closes batches and cancels all their jobs that have not ended.

    For example:

      jobhall batch cancel 01977c0e-5b7a-7d2c-9b5e-0c1d2e3f4a5b --reason 'wrong month'
    """
    with context.connect() as client:
        cancelling = partial(client.batches.cancel, reason=reason)
        return change_each(batch_ids, cancelling, context, verb="cancelled", noun="batch")


@batch.command(usage="Usage: jobhall batch rm [OPTIONS] BATCH_ID...")
def rm(*batch_ids: BatchIds, context: Injected) -> Exit:
    """Deletes batches with all their jobs, unless workers hold some of them.

    For example:

      jobhall batch rm 01977c0e-5b7a-7d2c-9b5e-0c1d2e3f4a5b
    """
    with context.connect() as client:
        return change_each(batch_ids, client.batches.delete, context, verb="deleted", noun="batch")


@batch.command
def wait(
    batch_id: BatchId,
    /,
    *,
    timeout: Annotated[str | None, Parameter(help="No longer than this, such as 10m; for ever if not given.")] = None,
    context: Injected,
) -> Exit:
    """Waits until a batch has ended: exit 0 if all its jobs completed, else 1.

    One that is open is waited for until somebody closes it.

    For example:

      jobhall batch wait 01977c0e-5b7a-7d2c-9b5e-0c1d2e3f4a5b --timeout 1h
    """
    span = read_span(timeout, option="--timeout")
    with context.connect() as client:
        if not client.batches.get(batch_id).closed:
            remark(f"the batch is open; it ends after: jobhall batch close {batch_id}")
        with context.output.follow_batch() as show:
            ended = client.batches.wait(batch_id, timeout=span, on_update=show)
    context.output.batch(ended)
    return Exit.OK if ended.succeeded else Exit.FAILED
