"""Where a worker goes, and what it shows there: asked for anew for each stream."""

from pathlib import Path

import pytest

from jobhall.errors import ApiError, Code
from jobhall.worker.access import Access


async def test_the_environment_is_read_for_each_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    access = Access("hall.example:1", None)
    tokens = []
    for token in ("old", "new"):
        monkeypatch.setenv("JOBHALL_TOKEN", token)
        tokens.append((await access.endpoint()).token)

    assert tokens == ["old", "new"]
    assert access.address == "hall.example:1"


async def test_a_function_gives_a_fresh_token_each_time_and_a_files_newline_is_none_of_it(tmp_path: Path) -> None:
    file = tmp_path / "token"
    access = Access("hall.example:1", file.read_text)
    tokens = []
    for token in ("old\n", "new\n"):
        file.write_text(token)
        tokens.append((await access.endpoint()).token)

    assert tokens == ["old", "new"]


async def test_a_function_that_fails_is_a_server_that_is_away_for_the_moment(tmp_path: Path) -> None:
    access = Access("hall.example:1", (tmp_path / "nowhere").read_text)

    with pytest.raises(ApiError, match="nowhere") as raised:
        await access.endpoint()

    assert raised.value.code is Code.UNAVAILABLE
