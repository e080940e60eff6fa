"""The server's intervals, in seconds, as the last Welcome told them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from jobhall.limits import ACCEPT_TIMEOUT, HEARTBEAT_INTERVAL, HELLO_TIMEOUT, SESSION_TTL, SILENT_BEATS_MAX
from jobhall.v1.worker_service_pb2 import WorkSettings

_WELCOME_SECONDS_MIN: Final = 2.0
"""A busy server is given so long to welcome a worker."""


@dataclass(slots=True)
class Pace:
    """What the server leaves out is as it was."""

    heartbeat: float = HEARTBEAT_INTERVAL.total_seconds()
    accept: float = ACCEPT_TIMEOUT.total_seconds()
    session: float = SESSION_TTL.total_seconds()

    @property
    def silence(self) -> float:
        """How long a server may say nothing; it answers every beat."""
        return SILENT_BEATS_MAX * self.heartbeat

    @property
    def welcome(self) -> float:
        """How long a Welcome is waited for: a connection that leads nowhere must not cost a session that is short."""
        return min(HELLO_TIMEOUT.total_seconds(), max(_WELCOME_SECONDS_MIN, self.session))

    def obey(self, settings: WorkSettings) -> None:
        """The server sets the pace."""
        self.heartbeat = settings.heartbeat_interval.ToTimedelta().total_seconds() or self.heartbeat
        self.accept = settings.accept_timeout.ToTimedelta().total_seconds() or self.accept
        self.session = settings.session_ttl.ToTimedelta().total_seconds() or self.session
