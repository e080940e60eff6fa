"""Whatever the order of work, acks and broken streams: every task's words are committed, and in their order."""

from hypothesis import given, settings
from hypothesis import strategies as st

from jobhall.task import Task
from jobhall.v1.task_pb2 import TaskLog, TaskUpdate
from jobhall.v1.worker_service_pb2 import WorkSettings
from jobhall.worker.held import HeldTask
from tests.support.stream_machine import Bench, token_of

STEPS = st.lists(
    st.sampled_from(["deliver", "begin", "log", "end", "read", "read", "ack", "break", "wait"]), min_size=1, max_size=80
)


class Server:
    """Reads what comes, commits a part of it, and forgets what it had not committed when the stream breaks."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.read: list[TaskUpdate | TaskLog] = []
        self.committed: list[TaskUpdate | TaskLog] = []
        self.expected_seq = 1
        self.acked_seq = 0

    def take(self, items: list[TaskUpdate | TaskLog]) -> None:
        for item in items:
            if item.seq:
                assert item.seq == self.expected_seq
                self.expected_seq += 1
                self.read.append(item)
        assert len(self.read) <= 4

    def ack(self, count: int) -> None:
        self.committed += self.read[:count]
        self.acked_seq += len(self.read[:count])
        del self.read[:count]
        self.bench.ack(self.acked_seq)

    def reconnect(self) -> None:
        self.read.clear()
        self.expected_seq, self.acked_seq = 1, 0
        self.bench.open()


@given(steps=STEPS)
@settings(max_examples=200)
def test_every_end_is_committed_after_all_that_its_task_said_and_before_it_is_forgotten(steps: list[str]) -> None:
    bench = Bench(settings=WorkSettings(unacked_items_max=4, message_bytes_target=300), prefetch=0)
    server = Server(bench)
    bench.open()
    waiting: list[HeldTask] = []
    running: list[HeldTask] = []
    lines: dict[bytes, int] = {}
    count = 0

    for step in [*steps, *["begin", "end"] * 80, *["read", "ack"] * 200]:
        match step:
            case "deliver":
                count += 1
                waiting += bench.deliver(count)
            case "begin" if waiting:
                running += bench.begin(waiting.pop(0))
            case "log" if running:
                Task(running[0], bench.handover).log("a line of some length " * 3)
                lines[running[0].token] = lines.get(running[0].token, 0) + 1
                bench.stream.collect(bench.now)
            case "end" if running:
                bench.end(running.pop(0))
            case "read":
                server.take(bench.say_items())
            case "ack":
                server.ack(1)
            case "break":
                server.reconnect()
            case "wait":
                bench.now += 0.2

    ended = [
        item.lease_token for item in server.committed if isinstance(item, TaskUpdate) and item.HasField("completed")
    ]
    assert sorted(ended) == [token_of(number) for number in range(1, count + 1)]
    for token, said in lines.items():
        logs = [item for item in server.committed if isinstance(item, TaskLog) and item.lease_token == token]
        assert sum(len(item.log_entries) for item in logs) == said
        assert logs[-1].first_number + len(logs[-1].log_entries) - 1 == said
        places = [place for place, item in enumerate(server.committed) if item.lease_token == token]
        assert isinstance(server.committed[places[-1]], TaskUpdate)
    assert bench.held == set()
