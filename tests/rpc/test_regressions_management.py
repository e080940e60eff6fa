"""Faults of stats and explanations that were found once, each with its story."""

from pathlib import Path
from typing import Any

from jobhall.v1 import job_service_pb2 as pb
from jobhall.v1.job_type_service_pb2 import PauseJobTypeRequest, RegisterJobTypeRequest
from jobhall_server.domain.access import Principal
from tests.support.authenticators import ByToken
from tests.support.calls import register, submission, submit
from tests.support.halls import LeapingClock
from tests.support.servers import Running, running_server

USER = frozenset({"user"})
HOUR = 3600


def by(token: str) -> Any:
    return (("authorization", f"Bearer {token}"),)


async def age(server: Running, token: str, **fields: Any) -> int | None:
    """How long the oldest job has waited, in whole seconds; None where it is not told."""
    (queue,) = (await server.jobs.GetJobStats(pb.GetJobStatsRequest(**fields), metadata=by(token))).queues
    return queue.oldest_pending_age.seconds if queue.HasField("oldest_pending_age") else None


async def test_the_age_of_the_oldest_job_is_that_of_a_job_which_the_caller_may_see(tmp_path: Path) -> None:
    """The counts were those of the caller's jobs, and the age beside them was anybody's: it told how long strangers
    had waited, and with `owner` it was of another owner.
    """
    callers = {
        "ann": Principal("ann", roles=USER),
        "bob": Principal("bob", "acme", roles=USER),
        "cat": Principal("cat", "acme", roles=USER),
        "root": Principal("root", roles=frozenset({"admin"})),
    }
    clock = LeapingClock()
    async with running_server(tmp_path, authenticator=ByToken(**callers), clock=clock) as server:
        request = RegisterJobTypeRequest(job_type={"name": "score"})  # type: ignore[arg-type]
        await server.job_types.RegisterJobType(request, metadata=by("root"))
        for token in ("ann", "bob"):
            await server.jobs.SubmitJob(pb.SubmitJobRequest(job=submission()), metadata=by(token))
            clock.leap(HOUR)

        assert [await age(server, token) for token in callers] == [2 * HOUR, HOUR, HOUR, 2 * HOUR]
        assert [await age(server, "root", owner=owner) for owner in ("ann", "bob")] == [2 * HOUR, HOUR]


async def test_the_advice_to_resume_a_type_says_where_it_is_registered(server: Running) -> None:
    """`jobhall type resume score` was advised of a global type too: it looks in `default`, and found nothing there."""
    for namespace, where in (("default", ""), ("@global", " --namespace @global")):
        name = f"of-{namespace.strip('@')}"
        await register(server, name, namespace)
        await server.job_types.PauseJobType(PauseJobTypeRequest(namespace=namespace, name=name))
        job = await submit(server, name)

        answer = await server.jobs.ExplainJob(pb.ExplainJobRequest(job_id=job.id))

        assert answer.explanation.reasons[0].suggestion == f"Resume the type: jobhall type resume {name}{where}"
