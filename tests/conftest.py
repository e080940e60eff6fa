"""What holds for every test: a clean environment, and hypothesis without time limits of its own."""

import os

import pytest
from hypothesis import HealthCheck, settings

# Two cores run everything at once here: how long one example takes says nothing.
settings.register_profile("jobhall", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("jobhall")


@pytest.fixture(scope="session", autouse=True)
def _settings_of_the_developer_stay_outside() -> None:
    for name in [name for name in os.environ if name.startswith("JOBHALL_")]:
        del os.environ[name]
