"""What a worker of this SDK runs on, as it tells the server."""

from __future__ import annotations

import os
import platform
import socket
import sys

from jobhall.v1.worker_pb2 import RuntimeInfo


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
