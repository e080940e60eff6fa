"""The pytest plugin: the fixture `jobhall` and the marker of its settings. To load it imports nothing but pytest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from jobhall_server.testing.host import Host
    from jobhall_server.testing.jobhall import Jobhall

_MARKER = "jobhall"


def pytest_configure(config: pytest.Config) -> None:
    """Makes the marker known, for those who are strict."""
    config.addinivalue_line(
        "markers", f"{_MARKER}(**settings): settings of the test's server, by their names; the nearest marker wins."
    )


@pytest.fixture(scope="session")
def _jobhall_host() -> Iterator[Host]:
    try:
        from jobhall_server.testing.host import Host
    except ModuleNotFoundError as error:
        pytest.fail(f"the fixture `jobhall` needs the server ({error}): pip install 'jobhall[server]'", pytrace=False)
    host = Host()
    yield host
    host.close()


@pytest.fixture
def jobhall(_jobhall_host: Host, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Jobhall]:
    """A jobhall server of the test's own; `@pytest.mark.jobhall(reaper_seconds=0.1)` changes its settings."""
    from jobhall_server.settings import SettingsError
    from jobhall_server.testing.jobhall import Jobhall

    with ExitStack() as stack:
        try:
            server = stack.enter_context(_jobhall_host.serving(_settings(request.node)))
        except SettingsError as error:
            pytest.fail(f"@pytest.mark.{_MARKER}: {error}", pytrace=False)
        monkeypatch.setenv("JOBHALL_ADDRESS", server.address)
        monkeypatch.delenv("JOBHALL_TOKEN", raising=False)
        hall = Jobhall(server.address, server.clock, server.advance)
        yield hall
        hall.close()


def _settings(node: pytest.Item) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for marker in node.iter_markers(_MARKER):
        if marker.args:
            pytest.fail(
                f"@pytest.mark.{_MARKER}: settings are given by their names, not {marker.args!r}", pytrace=False
            )
        settings = {**marker.kwargs, **settings}
    return settings
