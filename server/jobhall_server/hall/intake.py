"""The numbered reports of one stream on their way to the store: in order, a unit at a time, of bounded size."""

from __future__ import annotations

from collections import deque

from jobhall.errors import ProtocolViolationError
from jobhall_server.hall.frames import Rejection, Report, StreamSettings
from jobhall_server.hall.held import Batch
from jobhall_server.hall.reports import Judged

REPORTS_PER_UNIT_MAX = 2000
"""What comes at once is taken in units of this size, so that nobody's flood makes everybody's group long."""


class Intake:
    """Counts what the worker numbers, and how much of it waits for the word that it is dealt with."""

    def __init__(self, settings: StreamSettings) -> None:
        self.acked = 0
        """The last item of which the worker was told that it is dealt with."""
        self._settings = settings
        self._seq = 0
        self._unacked: deque[tuple[int, int]] = deque()
        self._unacked_bytes = 0
        self._pending: list[Report] = []
        self._in_flight: Batch | None = None

    @property
    def idle(self) -> bool:
        """Whether nothing waits for the store."""
        return not self._pending and self._in_flight is None

    def add(self, report: Report) -> None:
        """One more item; ProtocolViolationError when it is not the next one."""
        if report.seq != self._seq + 1:
            raise ProtocolViolationError(f"item {self._seq + 1} expected next on this stream, {report.seq} came")
        self._seq = report.seq
        self._pending.append(report)

    def add_unnumbered(self, report: Report) -> None:
        """Something that the server itself concludes or saves: nobody waits for its ack."""
        self._pending.append(report)

    def check(self, size_bytes: int) -> None:
        """Count a message of so many bytes; ProtocolViolationError when more waits than Welcome allows. Only what the
        worker was told of counts as acked: one that does not read may not make the server keep what it says.
        """
        if self._seq == (self._unacked[-1][0] if self._unacked else self.acked):
            return  # Progress alone, which is not acked.
        self._unacked.append((self._seq, size_bytes))
        self._unacked_bytes += size_bytes
        items, items_max = self._seq - self.acked, self._settings.unacked_items_max
        if items > items_max:
            raise ProtocolViolationError(f"{items} items are not acked; Welcome allows {items_max}: wait for acks")
        if self._unacked_bytes > self._settings.unacked_bytes_max:
            raise ProtocolViolationError(
                f"{self._unacked_bytes} bytes of items are not acked; "
                f"Welcome allows {self._settings.unacked_bytes_max}: wait for acks"
            )

    def take(self) -> Batch | None:
        """What forms the next unit; None while one is in flight or nothing waits."""
        if self._in_flight is not None or not self._pending:
            return None
        reports, self._pending = self._pending[:REPORTS_PER_UNIT_MAX], self._pending[REPORTS_PER_UNIT_MAX:]
        through = next((report.seq for report in reversed(reports) if report.seq), 0)
        self._in_flight = Batch(reports, through)
        return self._in_flight

    def committed(self, judged: Judged) -> tuple[Batch, list[Rejection]]:
        """The unit in flight is durable; answers it, with the numbered items that were not taken."""
        batch, self._in_flight = self._in_flight, None
        assert batch is not None
        refused = [
            Rejection(report.seq, report.token, error)
            for place, error in judged.refused.items()
            if (report := batch.reports[place]).seq
        ]
        return batch, refused

    def failed(self) -> None:
        """The unit in flight was dropped whole (the database was busy or full): it waits to be taken again."""
        batch, self._in_flight = self._in_flight, None
        assert batch is not None
        self._pending = [*batch.reports, *self._pending]

    def told(self, through_seq: int) -> None:
        """The ack up to there goes out."""
        self.acked = through_seq
        while self._unacked and self._unacked[0][0] <= through_seq:
            self._unacked_bytes -= self._unacked.popleft()[1]
