"""What waits for a worker: merged while it waits, cut into messages, and never more than what the worker holds."""

from collections.abc import Sequence

from jobhall.errors import LeaseLostError
from jobhall_server.hall.frames import (
    Ack,
    Assignments,
    Cancel,
    Cancels,
    FrameOut,
    HeartbeatReply,
    Rejection,
)
from jobhall_server.hall.outbox import DROPPED_PROGRESS_NAMED_MAX, Outbox, assignment_bytes
from tests.support.worker_frames import assignment, token

MESSAGE_BYTES = 64 * 1024


def calls(outbox: Outbox) -> list[list[FrameOut]]:
    """What each call for frames answers, until there are none."""
    answers = []
    while frames := outbox.frames(0):
        answers.append(frames)
    return answers


def keys(frame: FrameOut) -> Sequence[bytes]:
    assert isinstance(frame, Assignments)
    return [task.token for task in frame.tasks]


def test_assignments_are_cut_at_the_size_of_a_message_and_a_larger_task_goes_alone() -> None:
    outbox = Outbox(MESSAGE_BYTES)
    small = [assignment(key) for key in range(1, 4)]
    large = [assignment(key, parameters="x" * 1_000_000) for key in (4, 5)]

    parts = outbox.deliver([*small, *large])

    sizes = [sum(map(assignment_bytes, part.tasks)) for part in parts]
    assert [part.number for part in parts] == [1, 2, 3]
    assert [len(part.tasks) for part in parts] == [3, 1, 1]
    assert outbox.waiting_bytes == sum(sizes)
    assert calls(outbox) == [[part] for part in parts]
    assert outbox.waiting_bytes == 0


def test_what_is_said_meanwhile_goes_before_the_next_assignments() -> None:
    outbox = Outbox(MESSAGE_BYTES)
    first, second = outbox.deliver([assignment(key, parameters="x" * 1_000_000) for key in (1, 2)])

    said = [outbox.frames(0)]
    outbox.reply(1, [], [])
    outbox.ack(7)
    outbox.cancel(Cancel(token(1), "why", 1.0))
    said.append(outbox.frames(0))

    assert said[0] == [first]
    assert [type(frame) for frame in said[1]] == [Cancels, Ack, HeartbeatReply, Assignments]
    assert said[1][-1] == second


def test_acks_that_wait_become_one_with_all_rejections() -> None:
    outbox = Outbox(MESSAGE_BYTES)
    rejections = [Rejection(seq, token(seq), LeaseLostError()) for seq in (1, 2)]

    outbox.ack(1, rejections[:1])
    outbox.bad_progress(token(9))
    outbox.ack(2, rejections[1:])

    assert calls(outbox) == [[Ack(2, rejections, [token(9)])]]


def test_the_reply_to_the_newest_beat_stands_for_those_before_it_and_loses_no_lost_task() -> None:
    outbox = Outbox(MESSAGE_BYTES)
    outbox.reply(1, [token(1)], [Cancel(token(8), "old", 1.0)])
    outbox.lost([token(2)])
    newest = [Cancel(token(9), "new", 1.0)]

    outbox.reply(2, [token(3)], newest)

    assert calls(outbox) == [[HeartbeatReply(2, [token(2), token(3)], newest)]]


def test_a_worker_that_makes_up_tokens_and_reads_nothing_costs_one_reply() -> None:
    outbox = Outbox(MESSAGE_BYTES)
    for number in range(1, 1000):
        outbox.reply(number, [b"%d-%d" % (number, place) for place in range(10)], [])
        for place in range(10):
            outbox.bad_progress(b"%d-%d" % (number, place))

    (frames,) = calls(outbox)

    assert [len(frame.bad_progress) for frame in frames if isinstance(frame, Ack)] == [DROPPED_PROGRESS_NAMED_MAX]
    assert [len(frame.lost) for frame in frames if isinstance(frame, HeartbeatReply)] == [10]


def test_very_many_cancels_go_in_messages_of_bounded_size() -> None:
    outbox = Outbox(MESSAGE_BYTES)
    wanted = [Cancel(token(key), "x" * 1024, 1.0) for key in range(1, 1001)]
    for cancel in wanted:
        outbox.cancel(cancel)
    outbox.reply(1, [], wanted)

    answers = calls(outbox)

    cancels = [frame for frames in answers for frame in frames if isinstance(frame, Cancels)]
    replies = [frame for frames in answers for frame in frames if isinstance(frame, HeartbeatReply)]
    assert [cancel for frame in cancels for cancel in frame.tasks] == wanted
    assert max(len(frame.tasks) for frame in cancels) < 64
    assert 50 < len(replies[0].cancels) < 64


def test_what_is_lost_before_it_was_sent_is_never_sent() -> None:
    outbox = Outbox(MESSAGE_BYTES)
    outbox.deliver([assignment(1), assignment(2)])
    outbox.cancel(Cancel(token(1), "why", 1.0))

    outbox.lost([token(1)])

    reply, tasks = outbox.frames(0)
    assert reply == HeartbeatReply(0, [token(1)], [])
    assert keys(tasks) == [token(2)]
