"""What a report of progress may not say, refused in the handler that says it."""

from __future__ import annotations

from math import isfinite

from jobhall.model import Progress


def check_progress(progress: Progress) -> None:
    """Raises ValueError, which says what contradicts what."""
    done, well, badly = progress.items_processed, progress.items_succeeded, progress.items_failed
    if min(done, well, badly, progress.items_total or 0, progress.step_index, progress.step_count) < 0:
        raise ValueError(f"progress: counts are not negative: {progress}")
    if well + badly > done:
        raise ValueError(f"progress: succeeded {well} + failed {badly} is more than processed {done}")
    if progress.items_total is not None and done > progress.items_total:
        raise ValueError(f"progress: processed {done} is more than total {progress.items_total}")
    if progress.step_count and progress.step_index > progress.step_count:
        raise ValueError(f"progress: step {progress.step_index} of {progress.step_count}")
    percent = progress.percent
    if percent is not None and not (isfinite(percent) and 0 <= percent <= 100):
        raise ValueError(f"progress: percent is {percent}; it goes from 0 to 100")
