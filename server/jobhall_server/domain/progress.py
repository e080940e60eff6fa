"""How far a task is: what workers report, what is kept, and what is refused."""

from __future__ import annotations

from dataclasses import dataclass

from jobhall.limits import INTEGER_MAX


@dataclass(frozen=True, slots=True)
class Progress:
    """The latest word of a task on how far it is; every field may be absent. Items are counted in `unit`s."""

    step: str = ""
    stage: str = ""
    step_index: int | None = None
    step_count: int | None = None
    percent: float | None = None
    message: str = ""
    total: int | None = None
    processed: int | None = None
    succeeded: int | None = None
    failed: int | None = None
    unit: str = ""
    details: str | None = None
    """A JSON text, or None."""
    number: int | None = None
    """Counts the reports of one task from 1; None: by order of arrival."""
    reported_at: int | None = None
    """When the server took it, microseconds UTC."""
    recent_per_second: float | None = None
    """Items over about the last ten seconds before it, as the server has seen them come; None: too few words yet."""

    @property
    def percent_done(self) -> float | None:
        """`percent` as reported, else from the counters, else None; never a division by zero."""
        if self.percent is not None:
            return self.percent
        if self.total and self.processed is not None:
            return 100.0 * self.processed / self.total
        return None

    def late(self, known: Progress | None) -> bool:
        """Whether its task said `known` after it."""
        return known is not None and self.number is not None and known.number is not None and self.number < known.number

    def fault(self) -> str | None:
        """What is contradictory in it, naming the field and both values; None when it may be kept."""
        for name in ("step_index", "step_count", "total", "processed", "succeeded", "failed", "number"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= INTEGER_MAX:
                return f"{name} is {value}; it must lie between 0 and {INTEGER_MAX}"
        if self.percent is not None and not 0 <= self.percent <= 100:
            return f"percent is {self.percent}; it must lie between 0 and 100"
        parts = (self.succeeded or 0) + (self.failed or 0)
        if self.processed is not None and parts > self.processed:
            return f"succeeded + failed is {parts}, more than processed = {self.processed}"
        if self.total is not None and (self.processed or parts) > self.total:
            return f"processed is {self.processed or parts}, more than total = {self.total}"
        return None
