"""What a worker of this SDK runs on: as it tells the server, and whether it may run here at all."""

from __future__ import annotations

import os
import platform
import socket
import sys
from typing import Final

from jobhall.v1.worker_pb2 import RuntimeInfo

PROCESS_FOR_HANDLERS: Final = "jobhall-handlers-"
"""How the names of such processes begin."""


def runtime_info() -> RuntimeInfo:
    """Of this very process."""
    from jobhall import __version__

    return RuntimeInfo(
        language="python",
        language_version=platform.python_version(),
        sdk_name="jobhall",
        sdk_version=__version__,
        hostname=socket.gethostname(),
        process_id=os.getpid(),
        platform=f"{sys.platform}-{platform.machine()}",
    )


def name_by_default() -> str:
    """What a worker of this process is called that was given no name."""
    return f"{socket.gethostname()}-{os.getpid()}"


def within_a_process_for_handlers() -> bool:
    """Whether this is one: then the module that runs the worker was only imported for its handlers."""
    # Who never imported multiprocessing was not started by it, and need not wait for the import.
    multiprocessing = sys.modules.get("multiprocessing")
    return multiprocessing is not None and multiprocessing.current_process().name.startswith(PROCESS_FOR_HANDLERS)
