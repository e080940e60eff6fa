"""Changes all jobs of a filter: counts them first, asks where somebody can answer, and tells how many it were."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from jobhall.cli.context import Context, OneNamespace
from jobhall.cli.exits import Exit, UsageError
from jobhall.cli.phrases import amount
from jobhall.cli.remarks import remark
from jobhall.errors import JobhallError
from jobhall.limits import BULK_JOBS_MAX

if TYPE_CHECKING:
    from jobhall.model_insight import BulkOutcome

Change = Callable[..., "BulkOutcome"]
"""One of the SDK's bulk calls; takes `filter`, `namespace`, `jobs_max` and `dry_run`."""

Filter = Annotated[str, Parameter(help="Conditions, such as 'state = FAILED AND labels.team = red'.")]


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Matching:
    """The options, as the command line has them."""

    filter: Filter | None = None
    namespace: OneNamespace = ""
    dry_run: Annotated[bool, Parameter(help="Say how many it would be, and change nothing.")] = False
    yes: Annotated[bool, Parameter(name=["--yes", "-y"], help="Do not ask.")] = False


def change_matching(change: Change, matching: Matching, context: Context, *, verb: str) -> Exit:
    """Does it, unless it was only to be counted, or who was asked does not want it; `verb` says what was done."""
    where = {"namespace": matching.namespace} | ({} if matching.filter is None else {"filter": matching.filter})
    if matching.dry_run or not matching.yes:
        outcome = change(dry_run=True, **where)
        if matching.dry_run:
            context.output.said(outcome, _would(outcome, verb))
            return Exit.OK
        if not outcome.count:
            context.output.said(outcome, verb, _jobs(0))
            return Exit.OK
        if not _agreed(f"{_would(outcome, verb)}. Go on? [y/N] "):
            remark("nothing was changed")
            return Exit.FAILED
    outcome = _change_all(change, where, verb=verb)
    context.output.said(outcome, verb, _jobs(outcome.count))
    if outcome.skipped:
        remark(f"{_jobs(outcome.skipped)} left: others have their unique keys meanwhile")
    return Exit.OK


def check_matching(matching: Matching) -> None:
    """UsageError where the change has to be agreed to, and nobody is there who could; or where it is not clear to what.

    An empty filter would be all jobs, and is rather a variable of a script that nobody set.
    """
    if matching.filter is not None and not matching.filter.strip():
        raise UsageError("--filter: is empty; leave it out if all jobs are meant")
    if matching.yes and matching.dry_run:
        raise UsageError("give --dry-run or --yes, not both")
    if not (matching.yes or matching.dry_run or (sys.stdin.isatty() and sys.stderr.isatty())):
        raise UsageError("without a terminal there is nobody to ask: say --yes, or look first with --dry-run")


def _change_all(change: Change, where: dict[str, str], *, verb: str) -> BulkOutcome:
    """Step by step: who interrupts it, or loses the server meanwhile, is told how far it came."""
    count = 0
    try:
        while True:
            outcome = change(dry_run=False, jobs_max=BULK_JOBS_MAX, **where)
            count += outcome.count
            if not (outcome.more and outcome.count):
                return replace(outcome, count=count)
    except (JobhallError, KeyboardInterrupt):
        if count:
            remark(f"{verb} {_jobs(count)} or more until then; say it again for the rest")
        raise


def _would(outcome: BulkOutcome, verb: str) -> str:
    return f"{'more than ' if outcome.more else ''}{_jobs(outcome.count)} would be {verb}"


def _jobs(count: int) -> str:
    return amount(count, "job")


def _agreed(question: str) -> bool:
    print(question, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
