"""The watches that the waits of the blocking client share, a thread each; `aio_waits` is its twin."""

from __future__ import annotations

import threading
from contextlib import closing
from typing import TYPE_CHECKING

from jobhall.errors import ApiError
from jobhall.procedures import Await
from jobhall.waits import Group

if TYPE_CHECKING:
    from jobhall.client_driver import Driver

_JOIN_SECONDS = 5.0


class Followers:
    """Opens what watches the waits want, and tells the waits what comes."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._threads: set[threading.Thread] = set()

    def wait(self, step: Await) -> None:
        """Lets the time pass until the waiter is ready."""
        ready = threading.Event()
        step.waiter.listen(ready.set)
        self._open(step)
        ready.wait(step.seconds)

    def join(self) -> None:
        """Waits for the threads, after their streams were closed."""
        for thread in [*self._threads]:
            if thread is not threading.current_thread():
                thread.join(_JOIN_SECONDS)

    def _open(self, step: Await) -> None:
        if step.waits.wants_watch():
            thread = threading.Thread(target=self._follow, args=(step,), name="jobhall-waits", daemon=True)
            self._threads.add(thread)
            thread.start()

    def _follow(self, step: Await) -> None:
        try:
            if (group := step.waits.next_group()) is not None:
                self._tell(step, group)
        finally:
            self._threads.discard(threading.current_thread())
            self._open(step)

    def _tell(self, step: Await, group: Group) -> None:
        try:
            with closing(self._driver.watch(group.place)) as updates:
                for update in updates:
                    ended = step.waits.take(group, update)
                    self._open(step)
                    if ended:
                        step.waits.settle(self._driver.run(step.fetch(ended)))
        except ApiError as error:
            step.waits.fail(group, error)
        finally:
            step.waits.close(group)
