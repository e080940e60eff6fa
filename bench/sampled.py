"""A program under a sampler: which functions its threads spend their CPU time in, without slowing them much."""

from __future__ import annotations

import json
import runpy
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from types import FrameType

_INTERVAL_SECONDS = 0.002
_SWITCH_INTERVAL_SECONDS = 50e-6
_SHOWN = 25


class Sampler(threading.Thread):
    """Each look charges every thread's CPU time since the last one to the function that it is in, and to its callers.

    So a thread that waits costs nothing, and one that runs C code is charged where that was called from. It begins
    when the file `go` is there, beside the report: what came before is of no interest.
    """

    def __init__(self, report: Path) -> None:
        super().__init__(name="sampler", daemon=True)
        self._report = report
        self._go = report.with_name("go")
        self._stopped = threading.Event()
        self._clocks: dict[int, float] = {}
        self._own: dict[str, Counter[str]] = {}
        self._with_callees: dict[str, Counter[str]] = {}
        self._process_seconds = 0.0

    def run(self) -> None:
        while not self._go.exists():
            if self._stopped.wait(_INTERVAL_SECONDS):
                return
        # The running thread is to be caught where it is, not where it next waits for something.
        sys.setswitchinterval(_SWITCH_INTERVAL_SECONDS)
        began = time.process_time() - time.thread_time()
        while not self._stopped.wait(_INTERVAL_SECONDS):
            self._look()
            self._process_seconds = time.process_time() - time.thread_time() - began

    def finish(self) -> None:
        """Writes the report: seconds by thread and function, the greatest first."""
        self._stopped.set()
        self.join()
        threads = {
            name: {
                "seconds": sum(own.values()),
                "own": own.most_common(_SHOWN),
                "with_callees": self._with_callees[name].most_common(_SHOWN),
            }
            for name, own in self._own.items()
        }
        self._report.write_text(json.dumps({"process_seconds": self._process_seconds, "threads": threads}))

    def _look(self) -> None:
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        for ident, frame in sys._current_frames().items():  # noqa: SLF001 - the documented way, its name notwithstanding
            if ident == self.ident:
                continue
            seconds = self._cpu_since_last(ident)
            if seconds > 0:
                self._charge(names.get(ident, "other"), frame, seconds)

    def _cpu_since_last(self, ident: int) -> float:
        now = self._clocks.get(ident, 0.0)
        with suppress(OSError):  # It has ended.
            now = time.clock_gettime(time.pthread_getcpuclockid(ident))
        before = self._clocks.setdefault(ident, now)
        self._clocks[ident] = now
        return now - before

    def _charge(self, thread: str, frame: FrameType, seconds: float) -> None:
        self._own.setdefault(thread, Counter())[_label(frame)] += seconds  # type: ignore[assignment]
        chain: set[str] = set()
        caller: FrameType | None = frame
        while caller is not None:
            chain.add(_label(caller))
            caller = caller.f_back
        totals = self._with_callees.setdefault(thread, Counter())
        for label in chain:
            totals[label] += seconds  # type: ignore[assignment]


def _label(frame: FrameType) -> str:
    code = frame.f_code
    return f"{'/'.join(Path(code.co_filename).parts[-2:])}:{code.co_qualname}"


def main() -> None:
    """`python -m bench.sampled REPORT MODULE ARGUMENTS…`: as `python -m MODULE ARGUMENTS…`."""
    sampler, module = Sampler(Path(sys.argv[1])), sys.argv[2]
    sys.argv = sys.argv[2:]
    sampler.start()
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        sampler.finish()


if __name__ == "__main__":
    main()
