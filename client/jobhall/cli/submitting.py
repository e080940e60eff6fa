"""`jobhall submit`: one job, waited for or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

from cyclopts import Parameter

from jobhall.cli.arguments import STDIN, read_file_info, read_labels, read_parameters
from jobhall.cli.attempts import Attempts
from jobhall.cli.context import Context, Injected, Labels, OneNamespace
from jobhall.cli.exits import Exit, UsageError
from jobhall.cli.following import exit_of, follow_jobs
from jobhall.cli.remarks import remark
from jobhall.cli.schedules import Schedule
from jobhall.cli.waiting_reasons import told_why_it_waits
from jobhall.errors import JobFailedError
from jobhall.model import FileInfo, Job

if TYPE_CHECKING:
    from jobhall.calls import SubmitOptions
    from jobhall.client import Client


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """The parameters, from whichever source they come."""

    param: Annotated[
        tuple[str, ...],
        Parameter(name=["--param", "-p"], help="NAME=VALUE; JSON where VALUE is JSON, else text; repeat it for more."),
    ] = ()
    json_params: Annotated[str | None, Parameter(help="All parameters as JSON.", allow_leading_hyphen=True)] = None
    params_file: Annotated[
        str | None, Parameter(help="A file with them; - is standard input.", allow_leading_hyphen=True)
    ] = None

    def parameters(self) -> Any:
        """As the SDK takes them."""
        return read_parameters(params=self.param, json_params=self.json_params, params_file=self.params_file)


class SubjectOptions(TypedDict):
    """What a submit takes of it."""

    path: str
    file_info: FileInfo | None


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What the job is about; the server opens none of it."""

    path: Annotated[str, Parameter(help="The resource that the job concerns.")] = ""
    file: Annotated[str | None, Parameter(help="A file that it works on: its name and size go along.")] = None
    file_name: Annotated[str, Parameter(help="The same of a file that is elsewhere.")] = ""
    file_size: Annotated[int | None, Parameter(help="Its size in bytes.")] = None

    def options(self) -> SubjectOptions:
        """As the SDK takes them."""
        if self.file is not None and self.file_name:
            raise UsageError("give a --file or a --file-name, not both")
        if self.file_size is not None and not self.file_name:
            raise UsageError("--file-size goes with a --file-name")
        elsewhere = FileInfo(self.file_name, self.file_size) if self.file_name else None
        return {"path": self.path, "file_info": read_file_info(self.file) or elsewhere}


def submit(
    job_type: Annotated[str, Parameter(help="What kind of job: a registered type.")],
    /,
    *,
    given: Given | None = None,
    namespace: OneNamespace = "",
    label: Labels = (),
    subject: Subject | None = None,
    priority: Annotated[int | None, Parameter(help="-100 to 100, higher first.", allow_leading_hyphen=True)] = None,
    job_id: Annotated[str, Parameter(help="A UUID of your own: submitting it again changes nothing.")] = "",
    batch: Annotated[str, Parameter(help="The id of the batch that it joins.")] = "",
    schedule: Schedule | None = None,
    attempts: Attempts | None = None,
    validate_only: Annotated[bool, Parameter(help="Check everything, and submit nothing.")] = False,
    wait: Annotated[bool, Parameter(help="Follow the job to its end; exit 1 unless it completes.")] = False,
    context: Injected,
) -> Exit:
    """Submits a job. Piped, it prints the job's id and nothing else.

    A last - reads the parameters from standard input, as JSON.

    For example:

      jobhall submit resize --param file=cat.png --param width=200
      jobhall submit report --json-params '{"month": 7}' --label team=red --wait
      jobhall submit charge --max-attempts 6 --retry-delay 10s --run-timeout 5m
      jobhall submit report --at 2026-02-01T06:00 --unique-key 2026-02
      generate | jobhall submit import -
      id=$(jobhall submit resize --param file=cat.png)
    """
    parameters = (given or Given()).parameters()
    options: SubmitOptions = {
        **(schedule or Schedule()).options(),
        **(attempts or Attempts()).options(),
        **(subject or Subject()).options(),
        "namespace": namespace,
        "labels": read_labels(label),
        "priority": priority,
        "job_id": job_id,
        "batch_id": batch,
    }
    if wait and validate_only:
        raise UsageError("there is nothing to --wait for with --validate-only")
    with context.connect() as client:
        if validate_only:
            job = client.jobs.validate(job_type, parameters, **options)
            context.output.said(job, "valid:", job.job_type, job.state)
            return Exit.OK
        job = client.jobs.submit(job_type, parameters, **options)
        if not wait:
            context.output.made(job, job.job_type, job.state)
            return Exit.OK
        try:
            with told_why_it_waits(partial(client.jobs.explain, job.id)):
                return exit_of([_wait(client, job, context)])
        except KeyboardInterrupt:
            remark(f"the job goes on; see it with: jobhall watch {job.id}")
            raise


def spell_out_stdin(tokens: Sequence[str]) -> list[str]:
    """`submit TYPE -` as `submit TYPE --params-file=-`: the parser would take a lone hyphen for an option."""
    return [
        "--params-file=-" if token == STDIN and before != "--params-file" else token
        for before, token in pairwise(["", *tokens])
    ]


def _wait(client: Client, job: Job, context: Context) -> Job:
    if context.as_json:
        try:
            job = client.jobs.wait_for_job(job.id)
        except JobFailedError as failure:
            job = failure.job or job
        context.output.job(job)
    else:
        [job] = follow_jobs(client, [job.id], context.output.follow(named=True))
        context.output.ended(job)
    return job
