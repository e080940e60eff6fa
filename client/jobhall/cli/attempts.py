"""What `jobhall submit` may say of a job's attempts: how many, how long, and when the next one follows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, Literal, TypedDict

from cyclopts import Parameter

from jobhall.cli.exits import UsageError
from jobhall.cli.times import read_span
from jobhall.model import RetryPolicy
from jobhall.states import BackoffStrategy


class AttemptOptions(TypedDict):
    """What a submit and the defaults of a type both take."""

    max_attempts: int
    retry_policy: RetryPolicy | None
    run_timeout: timedelta | None
    progress_timeout: timedelta | None


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Attempts:
    """The options, as the command line has them; what is not given is left to the job's type."""

    max_attempts: Annotated[
        int | None, Parameter(help="Starts at most, worker losses included; 4 by default, 1: never run twice.")
    ] = None
    retry_delay: Annotated[
        str | None, Parameter(help="Wait before the second attempt, such as 10s; 1s by default.")
    ] = None
    retry_max_delay: Annotated[str | None, Parameter(help="Never wait longer; 10m by default.")] = None
    retry_strategy: Annotated[
        Literal["exponential", "linear", "fixed"] | None,
        Parameter(help="How the wait grows; exponential by default."),
    ] = None
    retry_multiplier: Annotated[float | None, Parameter(help="How steeply, where it is exponential; 2 by default.")] = (
        None
    )
    retry_jitter: Annotated[float | None, Parameter(help="Random share of each wait, 0 to 1; 0.2 by default.")] = None
    no_retry_code: Annotated[
        tuple[str, ...], Parameter(name="--no-retry-code", help="A failure of this code is final; repeat it for more.")
    ] = ()
    run_timeout: Annotated[str | None, Parameter(help="How long one attempt may run, such as 5m.")] = None
    progress_timeout: Annotated[str | None, Parameter(help="How long one may be silent, such as 90s.")] = None

    def options(self) -> AttemptOptions:
        """The same as the SDK takes it."""
        if self.max_attempts == 0:
            raise UsageError("--max-attempts: 0 would never run it; 1 is to run it once")
        return {
            "max_attempts": self.max_attempts or 0,
            "retry_policy": self._retry_policy(),
            "run_timeout": read_span(self.run_timeout, option="--run-timeout"),
            "progress_timeout": read_span(self.progress_timeout, option="--progress-timeout"),
        }

    def _retry_policy(self) -> RetryPolicy | None:
        said: dict[str, Any] = {
            "strategy": self.retry_strategy and BackoffStrategy[self.retry_strategy.upper()],
            "initial_delay": read_span(self.retry_delay, option="--retry-delay"),
            "max_delay": read_span(self.retry_max_delay, option="--retry-max-delay"),
            "multiplier": self.retry_multiplier,
            "jitter": self.retry_jitter,
            "non_retryable_codes": self.no_retry_code or None,
        }
        given = {name: value for name, value in said.items() if value is not None}
        return RetryPolicy(**given) if given else None
