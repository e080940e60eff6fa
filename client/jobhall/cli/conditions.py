"""Which jobs: the conditions that `watch`, `events` and `top` share, and the options that say what of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, TypedDict

from cyclopts import Parameter

from jobhall.cli.arguments import read_labels
from jobhall.cli.context import Labels, Namespace

JobIds = Annotated[str, Parameter(name="JOB_ID", help="Only these jobs.")]
Events = Annotated[
    tuple[str, ...],
    Parameter(name=["--event", "-e"], help="Only these, such as completed,failed."),
]


class Which(TypedDict):
    """The same as the SDK's watches and lists of events take it."""

    namespace: str
    batch_id: str
    job_types: tuple[str, ...]
    owner: str
    labels: dict[str, str]


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """The options, as the command line has them; all that are given must hold."""

    batch: Annotated[str, Parameter(help="Only jobs of the batch of this id.")] = ""
    job_type: Annotated[tuple[str, ...], Parameter(name=["--type", "-t"], help="Only this type; repeat it.")] = ()
    owner: Annotated[str, Parameter(help="Only this subject's jobs.")] = ""
    label: Labels = ()
    namespace: Namespace = ""

    def which(self) -> Which:
        """The same, read."""
        return Which(
            namespace=self.namespace,
            batch_id=self.batch,
            job_types=self.job_type,
            owner=self.owner,
            labels=read_labels(self.label),
        )
