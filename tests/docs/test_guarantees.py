"""The page of guarantees names a test for each promise; a promise whose test is gone is no promise."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "guarantees.md").read_text()
NAMED = sorted(set(re.findall(r"`(test_\w+)`", PAGE)))
FILES = sorted(set(re.findall(r"`(tests/[\w/]+(?:\.py|/))`", PAGE)))


@pytest.mark.parametrize("name", NAMED)
def test_every_test_that_the_page_names_exists(name: str) -> None:
    defined = re.compile(rf"^\s*(?:async )?def {name}\(", re.MULTILINE)

    assert any(defined.search(path.read_text()) for path in (ROOT / "tests").rglob("test_*.py"))


@pytest.mark.parametrize("path", FILES)
def test_every_file_that_the_page_names_exists(path: str) -> None:
    assert (ROOT / path).exists()


def test_every_row_of_the_promises_names_what_shows_it() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| **")]

    assert len(rows) >= 13
    assert all(re.search(r"\| [^|]*(test|storm)[^|]*\|$", row) for row in rows)
