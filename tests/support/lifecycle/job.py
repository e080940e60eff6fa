"""One job in the lifecycle model: its few columns, and the steps of which its moves are made."""

from __future__ import annotations

from dataclasses import dataclass, field

from jobhall.states import HELD_STATES, AttemptOutcome, EventType, FailureKind, JobState
from jobhall_server.domain.job import Lease, LeaseState
from jobhall_server.domain.rules import NO_RULES, Backoff, RetryPolicy, Rules

S = JobState
E = EventType


@dataclass
class ModelJob:
    """A job; `order` is its place among all that were ever submitted."""

    job_id: str
    order: int
    queue: int
    priority: int
    max_attempts: int
    content: int
    ready_at: int
    rules: Rules = NO_RULES
    schedule_at: int | None = None
    start_deadline: int | None = None
    unique: str | None = None
    member: bool = False
    """Of the one batch that there is."""
    held_back: bool = False
    labels: str | None = None
    state: JobState = S.PENDING
    attempt: int = 0
    losses: int = 0
    releases: int = 0
    fence: int = 0
    lease: LeaseState = LeaseState.SPENT
    session: int | None = None
    started_at: int | None = None
    due_at: int | None = None
    item_errors: int = 0
    items: dict[int, int] = field(default_factory=dict)
    """How many it has, as each attempt said last: by fence."""
    checkpoint_bytes: int | None = None
    excluded: bool = False
    not_for: set[int] = field(default_factory=set)
    newest: Lease | None = None
    recorded: tuple[int, int] | None = None
    failure: FailureKind = FailureKind.UNSPECIFIED
    result: str | None = None
    events: list[tuple[EventType, int]] = field(default_factory=lambda: [(E.SUBMITTED, 0)])
    """Each with the attempt that it tells."""
    history: dict[int, tuple[int, AttemptOutcome]] = field(default_factory=dict)
    """Attempts that ended while the job went on: fence → number, and how it ended."""

    def enter(self, now: int) -> None:
        """As it is submitted: ready, or not before its time."""
        if self.schedule_at is not None and self.schedule_at > now:
            self.state, self.due_at = S.SCHEDULED, self.waits_until(self.schedule_at)
        else:
            self.due_at = self.waits_until(None)

    def waits_until(self, at: int | None) -> int | None:
        """When the server moves it on that waits for its turn from `at` on; nothing counts but the first start."""
        times = [at, self.start_deadline if self.attempt == 0 else None]
        return min((time for time in times if time is not None), default=None)

    def close(self, outcome: AttemptOutcome) -> None:
        """Its attempt is over, and it goes on."""
        self.history[self.fence] = (self.attempt, outcome)

    def tell(self, event: EventType) -> None:
        self.events.append((event, self.attempt))

    def start(self, now: int) -> None:
        """The attempt counts from here."""
        self.attempt += 1
        self.item_errors = 0
        self.run(now, since=now)

    def run(self, now: int, *, since: int) -> None:
        self.state, self.lease, self.started_at = S.RUNNING, LeaseState.OPEN, since
        self.hear(now)
        self.tell(E.RUNNING)

    def hear(self, now: int) -> None:
        """It is not silent: when its time is over unless more is heard of it."""
        ends = []
        if self.rules.run_timeout_us is not None and self.started_at is not None:
            ends.append(self.started_at + self.rules.run_timeout_us)
        if self.rules.progress_timeout_us is not None:
            ends.append(now + self.rules.progress_timeout_us)
        self.due_at = min(ends) if ends else None

    def wait(self, now: int, lease: LeaseState = LeaseState.SPENT, *, delay_us: int = 0) -> None:
        """It is ready for any worker again, at once or later."""
        self.session, self.lease = None, lease
        if delay_us > 0:
            self.state, self.due_at = S.SCHEDULED, self.waits_until(now + delay_us)
            self.tell(E.SCHEDULED)
        else:
            self.state, self.ready_at, self.due_at = S.PENDING, now, self.waits_until(None)
            self.tell(E.READY)

    def end(self, state: JobState) -> None:
        self.state, self.session, self.lease, self.due_at = state, None, LeaseState.SPENT, None
        self.tell(EventType[state.name])

    def ready(self, now: int) -> bool:
        """Whether a worker may have it: it may still begin, and its batch is active."""
        return self.state is S.PENDING and not self.held_back and (self.due_at is None or self.due_at > now)

    @property
    def held(self) -> bool:
        return self.state in HELD_STATES


def delay_of(policy: RetryPolicy, failures: int, chance: float) -> int:
    """As the design's words on back-off have it."""
    full: float = policy.initial_delay_us
    if policy.backoff is Backoff.EXPONENTIAL:
        full *= policy.multiplier ** (failures - 1)
    elif policy.backoff is Backoff.LINEAR:
        full *= failures
    return int(min(full, policy.max_delay_us) * (1 - policy.jitter * chance))
