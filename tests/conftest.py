"""What holds for every test: a clean environment, hypothesis without time limits, the two lengths of the proofs."""

import gc
import os
import sys
from collections.abc import Callable, Generator

import pytest
from hypothesis import HealthCheck, settings

# Two cores run everything at once here: how long one example takes says nothing.
settings.register_profile("jobhall", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("jobhall")

FIGURES = "figures"
FIRST = ("tests/system", "tests/seeds", "tests/docs")
"""The long files: none of them may be left for the end, when the other workers have nothing to do any more."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="the proofs in their long form, minutes each (make system)")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is collected stays until the end, and what a test leaves is small: looking through all of it again and again
    took a sixth of the time.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)
        gc.enable()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not item.nodeid.startswith(FIRST))
    for item in items:
        marker = item.get_closest_marker("long_timeout")
        if marker and config.getoption("--long"):
            item.add_marker(pytest.mark.timeout(*marker.args), append=False)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The figures of the proofs, whether they held or not."""
    reports = [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]
    lines = [
        f"{report.nodeid}: {value}" for report in reports for name, value in report.user_properties if name == FIGURES
    ]
    if lines:
        terminalreporter.section(FIGURES)
        terminalreporter.write("\n".join([*sorted(set(lines)), ""]))


@pytest.fixture(scope="session")
def long(pytestconfig: pytest.Config) -> bool:
    """Whether the proofs run in their long form."""
    return bool(pytestconfig.getoption("--long"))


@pytest.fixture
def figures(record_property: Callable[[str, object], None]) -> Callable[..., None]:
    """Prints what a proof has measured, `figures(seed=7, kills=12)`; the run's summary repeats it."""

    def show(**measured: object) -> None:
        line = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in measured.items())
        sys.stdout.write(f"{line}\n")
        record_property(FIGURES, line)

    return show


@pytest.fixture(scope="session", autouse=True)
def _settings_of_the_developer_stay_outside() -> None:
    for name in [name for name in os.environ if name.startswith("JOBHALL_")]:
        del os.environ[name]
