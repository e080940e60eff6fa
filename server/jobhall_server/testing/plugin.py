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
        raise _refusal(f"the fixture `jobhall` needs the server ({error}): pip install 'jobhall[server]'") from None
    host = Host()
    yield host
    host.close()


@pytest.fixture
def jobhall(_jobhall_host: Host, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Jobhall]:
    """A jobhall server of the test's own; `@pytest.mark.jobhall(reaper_seconds=0.1)` changes its settings."""
    from jobhall import wire_values
    from jobhall_server.settings import SettingsError
    from jobhall_server.testing.jobhall import Jobhall

    with ExitStack() as stack:
        try:
            server = stack.enter_context(_jobhall_host.serving(_settings(request.node)))
        except SettingsError as error:
            raise _refusal(f"@pytest.mark.{_MARKER}: {error}") from None
        monkeypatch.setenv("JOBHALL_ADDRESS", server.address)
        monkeypatch.delenv("JOBHALL_TOKEN", raising=False)
        hall = Jobhall(server.address, server.clock, server.advance)
        # An hour from now, says the code under test: by the clock that the test sets, or after an advance it is over.
        monkeypatch.setattr(wire_values, "now", hall.clock.now)
        yield hall
        hall.close()


def _refusal(text: str) -> BaseException:
    return pytest.fail.Exception(text, pytrace=False)


def _settings(node: pytest.Item) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for marker in node.iter_markers(_MARKER):
        if marker.args:
            raise _refusal(f"@pytest.mark.{_MARKER}: settings are given by their names, not {marker.args!r}")
        settings = {**marker.kwargs, **settings}
    return settings
