"""Which errors of a handler are worth another attempt, and which end the job at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import jobhall
from examples.detection.library import LibraryError
from examples.detection.records import RecordError

RETRY_SECONDS = 1.0


@contextmanager
def told_as_failures() -> Iterator[None]:
    """What is wrong with the job stays wrong; a library that is away may be back in a second.

    Anything else that is raised is a bug, or what nobody thought of: it has its stack trace, and is tried again.
    """
    try:
        yield
    except RecordError as error:
        raise jobhall.TaskFailed(str(error), code="PARAMETERS_INVALID", retryable=False) from None
    except LibraryError as error:
        delay = RETRY_SECONDS if error.retryable else None
        raise jobhall.TaskFailed(str(error), code=error.code, retryable=error.retryable, retry_delay=delay) from None
