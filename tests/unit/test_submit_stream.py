"""The queue behind the submit stream: what waits travels together, and what broke off is sent again in order."""

import pytest

from jobhall.errors import ApiError, Code, JobTypeNotFoundError
from jobhall.limits import MESSAGE_BYTES_MAX
from jobhall.submit_stream import SubmitQueue
from jobhall.v1 import job_pb2
from jobhall.v1 import job_service_pb2 as pb
from jobhall.wire_errors import status_from_error


def submission(job_id: str, size_bytes: int = 0) -> job_pb2.JobSubmission:
    return job_pb2.JobSubmission(job_id=job_id, parameters=job_pb2.Payload(data=b"x" * size_bytes))


def submitted(seq: int, job_id: str) -> pb.SubmitOutcome:
    return pb.SubmitOutcome(seq=seq, submitted=pb.SubmittedJob(job_id=job_id, revision=1))


async def test_what_waits_together_travels_together() -> None:
    queue = SubmitQueue()
    futures = [queue.put(submission(name)) for name in "abc"]

    request = queue.next_request()

    assert request is not None
    assert (request.first_seq, [job.job_id for job in request.jobs]) == (1, ["a", "b", "c"])
    assert not queue.filled.is_set()
    assert queue.next_request() is None
    queue.take([submitted(seq, name) for seq, name in ((2, "b"), (1, "a"), (3, "c"))])
    assert [future.result().job_id for future in futures] == ["a", "b", "c"]


async def test_a_refused_submit_fails_alone() -> None:
    queue = SubmitQueue()
    good, bad = queue.put(submission("a")), queue.put(submission("b"))
    queue.next_request()

    queue.take([pb.SubmitOutcome(seq=2, error=status_from_error(JobTypeNotFoundError("b"))), submitted(1, "a")])

    assert good.result().job_id == "a"
    assert isinstance(bad.exception(), JobTypeNotFoundError)


async def test_what_was_not_answered_is_sent_again_before_what_came_later() -> None:
    queue = SubmitQueue()
    futures = [queue.put(submission(name)) for name in "abc"]
    queue.next_request()
    futures.append(queue.put(submission("d")))
    queue.take([submitted(2, "b")])

    queue.rewind()

    request = queue.next_request()
    assert request is not None
    assert (request.first_seq, [job.job_id for job in request.jobs]) == (1, ["a", "c", "d"])
    assert [future.done() for future in futures] == [False, True, False, False]


async def test_a_message_stays_within_its_bounds() -> None:
    queue = SubmitQueue()
    futures = [queue.put(submission(str(index), 1_000_000)) for index in range(9)]
    futures += [queue.put(submission(str(index))) for index in range(1200)]

    sizes = []
    while (request := queue.next_request()) is not None:
        assert request.ByteSize() <= MESSAGE_BYTES_MAX
        sizes.append(len(request.jobs))

    assert sizes == [4, 4, 1000, 201]
    assert sum(sizes) == len(futures)


async def test_no_more_than_the_bound_is_ever_unanswered() -> None:
    queue = SubmitQueue()
    futures = [queue.put(submission(str(index))) for index in range(10_001)]

    sent = 0
    while (request := queue.next_request()) is not None:
        sent += len(request.jobs)

    assert sent == len(futures) - 1 == 10_000
    assert not queue.filled.is_set()
    queue.take([submitted(1, "0")])
    assert queue.filled.is_set()
    request = queue.next_request()
    assert request is not None
    assert request.first_seq == 10_001


async def test_a_submit_whose_caller_has_gone_disturbs_nobody() -> None:
    queue = SubmitQueue()
    gone, here = queue.put(submission("a")), queue.put(submission("b"))
    queue.next_request()
    gone.cancel()

    queue.take([submitted(1, "a"), submitted(2, "b")])

    assert here.result().job_id == "b"


async def test_when_the_stream_is_given_up_everybody_is_told() -> None:
    queue = SubmitQueue()
    sent = queue.put(submission("a"))
    queue.next_request()
    waiting = queue.put(submission("b"))

    queue.give_up(ApiError("closed", code=Code.CANCELLED))

    for future in (sent, waiting):
        with pytest.raises(ApiError, match="closed"):
            future.result()
    assert queue.futures() == []
