"""What `jobhall submit` may say of when a job runs, how long it is kept, and of others like it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from jobhall.cli.exits import UsageError
from jobhall.cli.times import read_due, read_span
from jobhall.states import UniquePolicy

if TYPE_CHECKING:
    from jobhall.calls import SubmitOptions

UNIQUE_POLICIES = {policy.name.replace("_", "-").lower(): policy for policy in UniquePolicy if policy}


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """The options, as the command line has them."""

    at: Annotated[str | None, Parameter(help="Not to be started before: in 10m (s, m, h, d, w), or a time.")] = None
    start_deadline: Annotated[
        str | None, Parameter(help="Not to be started for the first time after: the same; it fails instead.")
    ] = None
    retention: Annotated[str | None, Parameter(help="How long to keep it after its end, such as 7d.")] = None
    unique_key: Annotated[str, Parameter(help="One such job of its type at a time, by this key.")] = ""
    unique_policy: Annotated[
        Literal["return-existing", "reject", "replace-pending"] | None,
        Parameter(help="What if there is one; return-existing if not given."),
    ] = None
    unique_window: Annotated[
        str | None, Parameter(help="How long after its submit it keeps the key even if it has ended.")
    ] = None

    def options(self) -> SubmitOptions:
        """The same as the SDK takes it."""
        if not self.unique_key and (self.unique_policy or self.unique_window):
            raise UsageError("--unique-policy and --unique-window go with a --unique-key")
        now = datetime.now(UTC)
        return {
            "schedule_time": read_due(self.at, option="--at", now=now),
            "start_deadline": read_due(self.start_deadline, option="--start-deadline", now=now),
            "retention": read_span(self.retention, option="--retention"),
            "unique_key": self.unique_key,
            "unique_policy": UNIQUE_POLICIES[self.unique_policy] if self.unique_policy else UniquePolicy.UNSPECIFIED,
            "unique_window": read_span(self.unique_window, option="--unique-window"),
        }
