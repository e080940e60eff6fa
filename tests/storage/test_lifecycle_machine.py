"""The lifecycle over a store, held against a plain model: any order of submits, claims, words, deaths and deadlines."""

import pytest
from hypothesis.stateful import run_state_machine_as_test

from tests.support.lifecycle.machine import machine_on, stories
from tests.support.stores import ENGINES

STORIES = {"sqlite": 48, "memory": 200}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("engine", ENGINES)
def test_in_whatever_order_things_happen_the_store_is_where_the_design_says(engine: str) -> None:
    run_state_machine_as_test(machine_on(engine), settings=stories(STORIES[engine]))
