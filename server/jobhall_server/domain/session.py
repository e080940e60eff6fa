"""A worker's session: its presence on the service, attached to a stream or detached, and the moves that it makes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, IntEnum


class SessionState(IntEnum):
    """Whether a session lives; only ATTACHED and unary ones are given work, only DETACHED ones expire."""

    ATTACHED = 1
    """A stream of a replica carries it."""
    DETACHED = 2
    """Its stream ended, or it never has one (unary); until its time to live is over its tasks are still its own."""
    LOST = 3
    """Its time to live is over: what it held goes back to the queue."""
    CLOSED = 4
    """It left by itself, holding nothing."""

    @property
    def alive(self) -> bool:
        """Whether it may still hold tasks."""
        return self in (SessionState.ATTACHED, SessionState.DETACHED)


class Disposition(Enum):
    """What becomes of a task that a Hello lists."""

    KEEP = 1
    """It is the worker's: go on, or report its end."""
    LOST = 2
    """It is another's, or nobody's: nothing that is said of it will be taken."""
    CANCEL = 3
    """It is to be stopped."""


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """All columns of a session that ever change, with those that decisions read. Times are microseconds UTC."""

    key: int
    session_id: str
    resume_digest: str
    """Of the secret by which the worker proves that the session is its own (see `resume_digest`)."""
    state: SessionState
    epoch: int
    """Raised at each attachment and detachment; a claim for another one is not served."""
    replica_key: int
    connection: int
    """The greatest that a Hello has named; only a greater one takes over."""
    ttl_us: int | None
    """Only of a unary session: how long it lives without being heard of. Those of streams live as the server says."""
    detached_at: int | None
    """While DETACHED: from when its time to live runs."""
    ended_at: int | None
    drain_at: int | None
    """Set once it is to leave: from then on what it still holds is taken from it."""

    @property
    def unary(self) -> bool:
        """Whether it belongs to the unary twins, without a stream."""
        return self.ttl_us is not None

    def attached(self, *, replica_key: int, connection: int) -> SessionRecord:
        """A stream of that replica carries it from now on."""
        return replace(
            self,
            state=SessionState.ATTACHED,
            epoch=self.epoch + 1,
            replica_key=replica_key,
            connection=connection,
            detached_at=None,
        )

    def detached(self, now: int) -> SessionRecord:
        """Its stream is gone: its time to live runs from now."""
        return replace(self, state=SessionState.DETACHED, epoch=self.epoch + 1, detached_at=now)

    def renewed(self, now: int, *, ttl_us: int | None = None) -> SessionRecord:
        """It was heard of without a stream: its time to live begins anew, with another length if it says so."""
        return replace(self, detached_at=now, ttl_us=self.ttl_us if ttl_us is None else ttl_us)

    def lost(self, now: int) -> SessionRecord:
        """Its time to live is over."""
        return replace(self, state=SessionState.LOST, epoch=self.epoch + 1, ended_at=now)

    def closed(self, now: int) -> SessionRecord:
        """It left by itself."""
        return replace(self, state=SessionState.CLOSED, epoch=self.epoch + 1, ended_at=now)

    def draining(self, drain_at: int) -> SessionRecord:
        """It is given no more work, and is to be gone by then."""
        return replace(self, drain_at=drain_at)


@dataclass(frozen=True, slots=True)
class NewSession:
    """What a worker said in its first Hello or ClaimTasks; `labels` and `runtime` are JSON objects.

    With `ttl_us` it is a unary session: detached from birth.
    """

    session_id: str
    resume_digest: str
    worker_name: str
    namespaces: tuple[str, ...]
    job_types: tuple[str, ...]
    labels: str
    runtime: str
    tasks_max: int
    replica_key: int
    connection: int
    ttl_us: int | None = None
