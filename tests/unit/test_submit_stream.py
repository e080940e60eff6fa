"""The queue behind the submit streams: what waits travels together, and what broke off is sent again in order."""

import threading
from concurrent.futures import Future

import pytest

from jobhall import Submitted
from jobhall.errors import JobTypeNotFoundError, MessageTooLargeError
from jobhall.limits import MESSAGE_BYTES_MAX
from jobhall.submit_queue import SubmitQueue, settle
from jobhall.v1 import job_pb2
from jobhall.v1 import job_service_pb2 as pb
from jobhall.wire_errors import status_from_error

Queue = SubmitQueue[Future[Submitted]]


def empty_queue() -> tuple[Queue, threading.Event]:
    filled = threading.Event()
    return SubmitQueue(filled), filled


def put(queue: Queue, message: job_pb2.JobSubmission) -> Future[Submitted]:
    future: Future[Submitted] = Future()
    queue.put(message, future)
    return future


def submission(job_id: str, size_bytes: int = 0) -> job_pb2.JobSubmission:
    return job_pb2.JobSubmission(job_id=job_id, parameters=job_pb2.Payload(data=b"x" * size_bytes))


def submitted(seq: int, job_id: str) -> pb.SubmitOutcome:
    return pb.SubmitOutcome(seq=seq, submitted=pb.SubmittedJob(job_id=job_id, revision=1))


def test_what_waits_together_travels_together() -> None:
    queue, filled = empty_queue()
    futures = [put(queue, submission(name)) for name in "abc"]

    request = queue.next_request()

    assert request is not None
    assert (request.first_seq, [job.job_id for job in request.jobs]) == (1, ["a", "b", "c"])
    assert not filled.is_set()
    assert queue.next_request() is None
    settle(queue.take([submitted(seq, name) for seq, name in ((2, "b"), (1, "a"), (3, "c"))]))
    assert [future.result().job_id for future in futures] == ["a", "b", "c"]


def test_a_refused_submit_fails_alone() -> None:
    queue, _ = empty_queue()
    good, bad = put(queue, submission("a")), put(queue, submission("b"))
    queue.next_request()

    settle(queue.take([pb.SubmitOutcome(seq=2, error=status_from_error(JobTypeNotFoundError("b"))), submitted(1, "a")]))

    assert good.result().job_id == "a"
    assert isinstance(bad.exception(), JobTypeNotFoundError)


def test_what_was_not_answered_is_sent_again_before_what_came_later() -> None:
    queue, _ = empty_queue()
    futures = [put(queue, submission(name)) for name in "abc"]
    queue.next_request()
    futures.append(put(queue, submission("d")))
    settle(queue.take([submitted(2, "b")]))

    queue.rewind()

    request = queue.next_request()
    assert request is not None
    assert (request.first_seq, [job.job_id for job in request.jobs]) == (1, ["a", "c", "d"])
    assert [future.done() for future in futures] == [False, True, False, False]


def test_a_message_stays_within_its_bounds() -> None:
    queue, _ = empty_queue()
    futures = [put(queue, submission(str(index), 1_000_000)) for index in range(9)]
    futures += [put(queue, submission(str(index))) for index in range(1200)]

    sizes = []
    while (request := queue.next_request()) is not None:
        assert request.ByteSize() <= MESSAGE_BYTES_MAX
        sizes.append(len(request.jobs))

    assert sizes == [4, 4, 1000, 201]
    assert sum(sizes) == len(futures)


def test_a_submit_that_no_message_can_hold_is_refused_before_it_harms_others() -> None:
    """Labels of five megabytes broke the stream: each submit beside it failed with what gRPC says of its own bound."""
    queue, _ = empty_queue()
    put(queue, submission("a"))

    with pytest.raises(MessageTooLargeError, match=r"the job has 50000\d\d bytes"):
        put(queue, submission("b", 5_000_000))

    assert len(queue) == 1
    assert queue.next_request() is not None


def test_no_more_than_the_bound_is_ever_unanswered() -> None:
    queue, filled = empty_queue()
    futures = [put(queue, submission(str(index))) for index in range(10_001)]

    sent = 0
    while (request := queue.next_request()) is not None:
        sent += len(request.jobs)

    assert sent == len(futures) - 1 == 10_000
    assert not filled.is_set()
    settle(queue.take([submitted(1, "0")]))
    assert filled.is_set()
    request = queue.next_request()
    assert request is not None
    assert request.first_seq == 10_001


def test_a_submit_whose_caller_has_gone_disturbs_nobody() -> None:
    queue, _ = empty_queue()
    gone, here = put(queue, submission("a")), put(queue, submission("b"))
    queue.next_request()
    gone.cancel()

    settle(queue.take([submitted(1, "a"), submitted(2, "b")]))

    assert here.result().job_id == "b"


def test_when_the_stream_is_given_up_everybody_is_named_who_waits() -> None:
    queue, filled = empty_queue()
    sent = put(queue, submission("a"))
    queue.next_request()
    waiting = put(queue, submission("b"))

    assert queue.give_up() == [sent, waiting]

    assert queue.futures() == []
    assert not filled.is_set()
