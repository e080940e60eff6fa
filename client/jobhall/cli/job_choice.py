"""Which jobs of a server: the conditions that `ls` and `export` share."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from jobhall.cli.arguments import read_labels, read_states
from jobhall.cli.bulk import Filter
from jobhall.cli.context import Labels, Namespace
from jobhall.cli.times import read_moment

if TYPE_CHECKING:
    from jobhall.calls import PageOptions


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class JobChoice:
    """The options, as the command line has them; all that are given must hold."""

    namespace: Namespace = ""
    state: Annotated[
        tuple[str, ...], Parameter(name=["--state", "-s"], help="Only these, such as failed or pending,running.")
    ] = ()
    job_type: Annotated[tuple[str, ...], Parameter(name=["--type", "-t"], help="Only this type; repeat it.")] = ()
    owner: Annotated[str, Parameter(help="Only this subject's.")] = ""
    label: Labels = ()
    path: Annotated[str, Parameter(help="Only those that concern this resource.")] = ""
    since: Annotated[str | None, Parameter(help="Submitted since: 2h ago (s, m, h, d, w), or a time.")] = None
    until: Annotated[str | None, Parameter(help="Submitted before: the same.")] = None
    batch: Annotated[str, Parameter(help="Only those of the batch of this id.")] = ""
    filter: Filter = ""

    def options(self) -> PageOptions:
        """The same as the SDK's lists take it."""
        now = datetime.now(UTC)
        options: PageOptions = {
            "namespace": self.namespace,
            "states": read_states(self.state),
            "job_types": self.job_type,
            "owner": self.owner,
            "labels": read_labels(self.label),
            "path": self.path,
            "batch_id": self.batch,
            "filter": self.filter,
        }
        if (moment := read_moment(self.since, option="--since", now=now)) is not None:
            options["created_after"] = moment
        if (moment := read_moment(self.until, option="--until", now=now)) is not None:
            options["created_before"] = moment
        return options
