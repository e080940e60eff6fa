"""unique_key: at most one such job at a time within namespace, type and organisation (else owner)."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from jobhall.errors import Code
from jobhall.limits import STREAM_SUBMIT_MAX
from jobhall.v1 import job_pb2, job_type_service_pb2
from jobhall.v1 import job_service_pb2 as pb
from jobhall_server.domain.access import ADMIN_ROLE, Principal
from tests.support.authenticators import ByToken
from tests.support.calls import RawWorker, get, refusal, register, submission, submit
from tests.support.servers import Running, running_server

RETURN = job_pb2.UNIQUE_POLICY_RETURN_EXISTING
REJECT = job_pb2.UNIQUE_POLICY_REJECT
REPLACE = job_pb2.UNIQUE_POLICY_REPLACE_PENDING


def request(policy: job_pb2.UniquePolicy.ValueType = RETURN, key: str = "k", **fields: Any) -> pb.SubmitJobRequest:
    return pb.SubmitJobRequest(job=submission(unique_key=key, unique_policy=policy, **fields))


async def cancel(server: Running, job_id: str) -> None:
    await server.jobs.CancelJob(pb.CancelJobRequest(job_id=job_id))


async def test_the_job_that_has_the_key_is_the_answer(server: Running) -> None:
    await register(server)
    first = await server.jobs.SubmitJob(request(json="1"))

    again = await server.jobs.SubmitJob(request(json="2"))
    unsaid = await submit(server, unique_key="k")

    assert (first.existing, again.existing) == (False, True)
    assert again.job.id == unsaid.id == first.job.id
    assert again.job.parameters.json == "1"


async def test_a_submit_may_rather_be_refused_and_is_told_by_which_job(server: Running) -> None:
    await register(server)
    job = await submit(server, unique_key="k")

    error = await refusal(server.jobs.SubmitJob(request(REJECT)))

    assert (error.code, error.reason) == (Code.ALREADY_EXISTS, "UNIQUE_KEY_TAKEN")
    assert error.metadata["job_id"] == job.id


@pytest.mark.parametrize("schedule", [None, {"seconds": 4_000_000_000}])
async def test_a_submit_takes_the_place_of_one_that_waits(server: Running, schedule: dict[str, int] | None) -> None:
    await register(server)
    job = await submit(server, unique_key="k", schedule_time=schedule)

    new = await server.jobs.SubmitJob(request(REPLACE))

    assert not new.existing
    assert (await refusal(get(server, job.id))).reason == "JOB_NOT_FOUND"
    assert (await server.jobs.SubmitJob(request())).job.id == new.job.id


@pytest.mark.parametrize("accepted", [False, True])
async def test_a_submit_does_not_take_the_place_of_one_that_a_worker_holds(server: Running, accepted: bool) -> None:
    worker = RawWorker(server)
    await worker.hello()
    job = await submit(server, unique_key="k")
    (task,) = await worker.tasks()
    if accepted:
        await worker.report(task.lease_token, accepted={})

    error = await refusal(server.jobs.SubmitJob(request(REPLACE)))

    assert (error.reason, error.metadata["job_id"]) == ("UNIQUE_KEY_TAKEN", job.id)
    worker.cut()


async def test_the_key_is_free_when_its_job_is_terminal_or_gone(server: Running) -> None:
    await register(server)
    first = await submit(server, unique_key="k")
    await cancel(server, first.id)

    second = await server.jobs.SubmitJob(request(REJECT))
    await server.jobs.DeleteJob(pb.DeleteJobRequest(job_id=second.job.id))
    third = await server.jobs.SubmitJob(request(REJECT))

    assert len({first.id, second.job.id, third.job.id}) == 3


async def test_within_its_window_a_job_keeps_its_key_even_when_it_is_terminal(server: Running) -> None:
    await register(server)
    job = await submit(server, unique_key="k", unique_window={"seconds": 3600})
    await cancel(server, job.id)

    existing = await server.jobs.SubmitJob(request())
    error = await refusal(server.jobs.SubmitJob(request(REJECT)))
    late = await refusal(server.jobs.SubmitJob(request(REPLACE)))

    assert (existing.existing, existing.job.id) == (True, job.id)
    assert existing.job.state == job_pb2.JOB_STATE_CANCELLED
    assert error.reason == late.reason == "UNIQUE_KEY_TAKEN"


async def test_a_window_that_is_over_keeps_nothing(server: Running) -> None:
    await register(server)
    job = await submit(server, unique_key="k", unique_window={})
    await cancel(server, job.id)

    assert not (await server.jobs.SubmitJob(request(REJECT))).existing


async def test_a_key_is_one_of_its_type_and_namespace(server: Running) -> None:
    await register(server)
    await register(server, "other")
    await register(server, "score", namespace="acme")
    jobs = [
        await submit(server, unique_key="k"),
        await submit(server, "other", unique_key="k"),
        await submit(server, unique_key="k", namespace="acme"),
        await submit(server, unique_key="K"),
    ]

    assert len({job.id for job in jobs}) == 4


async def test_of_many_at_once_one_is_new(server: Running) -> None:
    await register(server)

    answers = await asyncio.gather(*(server.jobs.SubmitJob(request()) for _ in range(100)))

    assert len({answer.job.id for answer in answers}) == 1
    assert sum(not answer.existing for answer in answers) == 1


async def test_a_submit_whose_job_is_deleted_meanwhile_is_answered_with_another(server: Running) -> None:
    """The submit was answered with the job that had the key, which was gone when it was to be shown: the caller of a
    submit was told JOB_NOT_FOUND.
    """
    await register(server)
    for _ in range(30):
        job = await submit(server, unique_key="k")

        answer, _ = await asyncio.gather(
            server.jobs.SubmitJob(request()), server.jobs.DeleteJob(pb.DeleteJobRequest(job_id=job.id))
        )

        assert answer.existing == (answer.job.id == job.id)


async def test_on_the_stream_each_is_answered_alone(server: Running) -> None:
    await register(server)
    jobs = [submission(unique_key="k"), submission(), submission(unique_key="k")]
    jobs += [submission(unique_key="k", unique_policy=REJECT), submission(unique_key="k", unique_policy=REPLACE)]
    stream = server.jobs.SubmitJobStream()
    await stream.write(pb.SubmitJobStreamRequest(first_seq=1, jobs=jobs))
    await stream.done_writing()

    outcomes = {outcome.seq: outcome for message in [m async for m in stream] for outcome in message.outcomes}

    assert len(outcomes) == len(jobs) < STREAM_SUBMIT_MAX
    assert [outcomes[seq].submitted.existing for seq in (1, 2, 3, 5)] == [False, False, True, False]
    assert outcomes[3].submitted.job_id == outcomes[1].submitted.job_id
    assert "is taken" in outcomes[4].error.message
    gone = await refusal(get(server, outcomes[1].submitted.job_id))
    assert gone.reason == "JOB_NOT_FOUND"


async def test_a_repeated_submit_is_its_own_job_and_not_a_second_one(server: Running) -> None:
    await register(server)
    mine = request(REJECT, job_id=str(uuid.uuid4()))

    first, again = await server.jobs.SubmitJob(mine), await server.jobs.SubmitJob(mine)

    assert (first.existing, again.existing) == (False, True)
    assert first.job.id == again.job.id


# --- RetryJob ---


async def test_a_retried_job_has_its_key_again(server: Running) -> None:
    await register(server)
    job = await submit(server, unique_key="k")
    await cancel(server, job.id)
    other = await submit(server, unique_key="k")
    await server.jobs.DeleteJob(pb.DeleteJobRequest(job_id=other.id))

    await server.jobs.RetryJob(pb.RetryJobRequest(job_id=job.id))

    assert (await server.jobs.SubmitJob(request())).job.id == job.id


async def test_a_job_is_not_retried_while_another_has_its_key(server: Running) -> None:
    await register(server)
    job = await submit(server, unique_key="k")
    await cancel(server, job.id)
    other = await submit(server, unique_key="k")

    error = await refusal(server.jobs.RetryJob(pb.RetryJobRequest(job_id=job.id)))

    assert (error.code, error.reason) == (Code.ALREADY_EXISTS, "UNIQUE_KEY_TAKEN")
    assert error.metadata["job_id"] == other.id
    assert (await get(server, job.id)).state == job_pb2.JOB_STATE_CANCELLED


# --- who calls ---


@pytest.fixture
async def strangers(tmp_path: Path) -> AsyncIterator[Running]:
    people = {
        "ann": Principal("ann", roles=frozenset({"user"})),
        "ben": Principal("ben", roles=frozenset({"user"})),
        "carl": Principal("carl", organization_id="acme", roles=frozenset({"user"})),
        "dora": Principal("dora", organization_id="acme", roles=frozenset({"user"})),
        "acme": Principal("acme", roles=frozenset({"user"})),
        "root": Principal("root", roles=frozenset({ADMIN_ROLE})),
    }
    async with running_server(tmp_path, authenticator=ByToken(**people)) as server:
        yield server


def called_by(name: str) -> grpc.aio.Metadata:
    """Metadata of one of them."""
    return grpc.aio.Metadata(("authorization", f"Bearer {name}"))


async def test_a_key_is_one_of_its_organisation_or_else_of_its_owner(strangers: Running) -> None:
    """An owner that is named as an organisation is another one."""
    score = job_type_service_pb2.RegisterJobTypeRequest(job_type={"name": "score"})  # type: ignore[arg-type]
    await strangers.job_types.RegisterJobType(score, metadata=called_by("root"))
    answers = {
        name: await strangers.jobs.SubmitJob(request(), metadata=called_by(name))
        for name in ("ann", "ben", "carl", "dora", "acme")
    }

    assert [name for name, answer in answers.items() if answer.existing] == ["dora"]
    assert answers["dora"].job.id == answers["carl"].job.id
    assert len({answer.job.id for answer in answers.values()}) == 4
