"""`jobhall worker`: runs one here (`running`), and lists, shows and sends away those that are anywhere."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from cyclopts import App, Parameter

from jobhall.cli.arguments import read_labels, read_worker_states
from jobhall.cli.changing import change_each
from jobhall.cli.context import Injected, Labels, Namespace
from jobhall.cli.exits import Exit
from jobhall.cli.records import worker_rows
from jobhall.cli.running import run
from jobhall.cli.tables import WORKERS
from jobhall.cli.times import read_span

worker = App(name="worker", help="Runs workers, lists those that are there, and sends them away.")
worker.command(run)

WorkerId = Annotated[str, Parameter(name="WORKER_ID", help="Its id, as `worker ls` shows it.")]


@worker.command
def ls(
    *,
    namespace: Namespace = "",
    state: Annotated[
        tuple[str, ...], Parameter(name=["--state", "-s"], help="Only these: attached, detached, draining.")
    ] = (),
    job_type: Annotated[
        tuple[str, ...], Parameter(name=["--type", "-t"], help="Only those that serve it; repeat it.")
    ] = (),
    name: Annotated[str, Parameter(help="Only those of this name.")] = "",
    label: Labels = (),
    context: Injected,
) -> Exit:
    """Lists the workers that are there, the newest first.

    Piped, a line each: id, name, state, tasks held and capacity, types and the
    time it was last heard of, with tabs between them.

    For example:

      jobhall worker ls
      jobhall worker ls --type resize --state detached
      jobhall worker ls --name resizer | cut -f1 | xargs -r jobhall worker drain
    """
    states, labels = read_worker_states(state), read_labels(label)
    with context.connect() as client:
        listed = client.workers.list(namespace=namespace, states=states, job_types=job_type, name=name, labels=labels)
        context.output.table(WORKERS, listed)
    return Exit.OK


@worker.command
def get(worker_id: WorkerId, /, *, context: Injected) -> Exit:
    """Shows all there is to know of a worker.

    For example:

      jobhall worker get 01977c0e-5b7a-7d2c-9b5e-0c1d2e3f4a5b
    """
    with context.connect() as client:
        it = client.workers.get(worker_id)
        context.output.record(it, worker_rows(it))
    return Exit.OK


@worker.command(usage="Usage: jobhall worker drain [OPTIONS] WORKER_ID...")
def drain(
    *worker_ids: WorkerId,
    timeout: Annotated[
        str | None, Parameter(help="How long it may take, such as 5m; 30s unless the server says otherwise.")
    ] = None,
    reason: Annotated[str, Parameter(help="Why, for people.")] = "",
    context: Injected,
) -> Exit:
    """Sends workers away: each finishes what it holds, gets nothing more, and stops.

    What a worker still holds when the time is over is taken from it and runs
    elsewhere. The command returns at once; `worker ls` shows who is left.

    For example:

      jobhall worker drain 01977c0e-5b7a-7d2c-9b5e-0c1d2e3f4a5b --timeout 5m
    """
    span = read_span(timeout, option="--timeout")
    with context.connect() as client:
        draining = partial(client.workers.drain, timeout=span, reason=reason)
        return change_each(worker_ids, draining, context, verb="draining", noun="worker")
