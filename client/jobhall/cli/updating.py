"""`jobhall update`: changes what may be changed of a job that was submitted."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from jobhall.cli.arguments import read_labels
from jobhall.cli.context import Etag, Injected, Labels
from jobhall.cli.exits import Exit, UsageError
from jobhall.cli.times import read_due
from jobhall.errors import EtagMismatchError

if TYPE_CHECKING:
    from jobhall.client import Client
    from jobhall.model import Job

_TRIES_MAX = 5
"""How often labels are read and changed anew when the job changed in between."""


def update(
    job_id: Annotated[str, Parameter(help="The job's id.")],
    /,
    *,
    priority: Annotated[int | None, Parameter(help="-100 to 100, higher first.", allow_leading_hyphen=True)] = None,
    at: Annotated[str | None, Parameter(help="Not to be started before: in 10m, or a time; now means at once.")] = None,
    start_deadline: Annotated[
        str | None, Parameter(help="Not to be started for the first time after: the same; none takes it away.")
    ] = None,
    label: Labels = (),
    remove_label: Annotated[tuple[str, ...], Parameter(help="The NAME of a label; repeat it for more.")] = (),
    etag: Etag = "",
    context: Injected,
) -> Exit:
    """Changes the priority, schedule or labels of a job.

    Priority and schedule while it waits, labels at any time; those that are not
    named stay.

    For example:

      jobhall update 01977c0e-5b7a-7d2c-9b5e-0c1d2e3f4a5b --priority 50 --at now
      jobhall update 01977c0e-5b7a-7d2c-9b5e-0c1d2e3f4a5b --label team=blue
    """
    now = datetime.now(UTC)
    changes: dict[str, Any] = {}
    if priority is not None:
        changes["priority"] = priority
    if at is not None:
        changes["schedule_time"] = None if at == "now" else read_due(at, option="--at", now=now)
    if start_deadline is not None:
        none = start_deadline == "none"
        changes["start_deadline"] = None if none else read_due(start_deadline, option="--start-deadline", now=now)
    labels = read_labels(label)
    if both := labels.keys() & set(remove_label):
        raise UsageError(f"--label and --remove-label both name {min(both)!r}")
    if not (changes or labels or remove_label):
        raise UsageError("say what to change: --priority, --at, --start-deadline, --label or --remove-label")
    with context.connect() as client:
        if labels or remove_label:
            job = _update_labels(client, job_id, labels, remove_label, etag=etag, changes=changes)
        else:
            job = client.jobs.update_job(job_id, etag=etag, **changes)
    context.output.said(job, "updated", job.id, job.state)
    return Exit.OK


def _update_labels(
    client: Client, job_id: str, add: dict[str, str], remove: tuple[str, ...], *, etag: str, changes: dict[str, Any]
) -> Job:
    """Labels are replaced as a whole: those that are there go along, and the etag shows whether they still are."""
    tries = 1
    while True:
        job = client.jobs.get_job(job_id)
        labels = {name: value for name, value in {**job.labels, **add}.items() if name not in remove}
        try:
            return client.jobs.update_job(job_id, labels=labels, etag=etag or job.etag, **changes)
        except EtagMismatchError:
            if etag or tries == _TRIES_MAX:
                raise
            tries += 1
