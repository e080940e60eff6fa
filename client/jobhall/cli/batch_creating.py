"""`jobhall batch create`: a batch with jobs from a file, however many."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from jobhall.cli.arguments import read_json
from jobhall.cli.context import Injected, OneNamespace
from jobhall.cli.exits import Exit, UsageError
from jobhall.cli.job_lines import read_jobs
from jobhall.cli.remarks import remark
from jobhall.limits import BATCH_SUBMIT_MAX
from jobhall.model_batches import Batch
from jobhall.states import CompletionPolicy
from jobhall.submission import Submission

if TYPE_CHECKING:
    from jobhall.client import Client

_BYTES_MAX = 3 * 1024 * 1024
"""Of lines in one call; the rest of a message's 4 MiB is for what the protocol adds."""

CompletionPolicyName = Annotated[
    Literal["all-completed", "all-terminal"] | None,
    Parameter(help="When its last job is submitted: if all completed (unless given), or however they ended."),
]


def create(
    *,
    name: Annotated[str, Parameter(help="What it is, for people.")] = "",
    jobs: Annotated[
        str | None,
        Parameter(help="A file with its jobs, one JSON object a line; - is stdin.", allow_leading_hyphen=True),
    ] = None,
    namespace: OneNamespace = "",
    closed: Annotated[bool, Parameter(help="No further jobs may join it.")] = False,
    inactive: Annotated[bool, Parameter(help="Hold its jobs back until it is made active.")] = False,
    completion: Annotated[str, Parameter(help="Type of a job to submit when it is done.")] = "",
    completion_parameters: Annotated[
        str | None, Parameter(help="Parameters of that job, as JSON.", allow_leading_hyphen=True)
    ] = None,
    completion_policy: CompletionPolicyName = None,
    batch_id: Annotated[str, Parameter(help="A UUID of your own: creating it again changes nothing.")] = "",
    context: Injected,
) -> Exit:
    """Creates a batch. Piped, it prints the batch's id and nothing else.

    A line of --jobs has the job's type, and what else `jobhall submit` takes:
    {"type": "resize", "parameters": {"file": "cat.png"}, "priority": 5}. Up to
    1000 jobs are created with it, all or none; more join it after that.

    For example:

      jobhall batch create --name nightly --jobs nightly.jsonl --closed
      batch=$(jobhall batch create --name uploads --completion report)
      jobhall submit resize --param file=cat.png --batch "$batch"
    """
    if not completion and (completion_parameters is not None or completion_policy):
        raise UsageError("--completion-parameters and --completion-policy go with a --completion")
    parameters = read_json(completion_parameters, option="--completion-parameters")
    first, *others = list(in_calls(read_jobs(jobs))) or [[]]
    if others and batch_id:
        raise UsageError("a batch with more jobs than fit into one call cannot have an id of your own")
    with context.connect() as client:
        batch = client.batches.create(
            name,
            jobs=first,
            namespace=namespace,
            closed=closed and not others,
            active=not inactive,
            completion_job=Submission(completion, parameters) if completion else None,
            completion_policy=read_completion_policy(completion_policy) or CompletionPolicy.UNSPECIFIED,
            batch_id=batch_id,
        )
        if others:
            batch = _join(client, batch, others, joined=len(first), closed=closed)
    context.output.made(batch, batch.name, batch.state)
    return Exit.OK


def read_completion_policy(name: str | None) -> CompletionPolicy | None:
    """`all-terminal` as its member; None where none was given."""
    return CompletionPolicy[name.replace("-", "_").upper()] if name else None


def in_calls(jobs: Sequence[tuple[Submission, int]]) -> Iterator[list[Submission]]:
    """The jobs in lists that one call can take; each comes with its size in bytes."""
    part: list[Submission] = []
    size = 0
    for job, bytes_count in jobs:
        if part and (len(part) == BATCH_SUBMIT_MAX or size + bytes_count > _BYTES_MAX):
            yield part
            part, size = [], 0
        part.append(job)
        size += bytes_count
    if part:
        yield part


def _join(client: Client, batch: Batch, parts: Sequence[Sequence[Submission]], *, joined: int, closed: bool) -> Batch:
    try:
        for part in parts:
            client.jobs.submit_many(replace(job, batch_id=batch.id, namespace=batch.namespace) for job in part)
            joined += len(part)
    except BaseException:
        # A refusal counts the jobs of its own call.
        remark(f"{joined} jobs are in the batch {batch.id}; jobs[0] is the one after them")
        raise
    return client.batches.close(batch.id) if closed else client.batches.get(batch.id)
