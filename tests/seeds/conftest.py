"""What the seeds' tests share: real processes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import Processes


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    """Starts servers and workers in `tmp_path`; afterwards none of them runs, and none has shown a stack trace."""
    with Processes(tmp_path) as processes:
        yield processes
