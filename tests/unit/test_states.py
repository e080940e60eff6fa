"""The words for states say who moves a job on, and the page that draws them is the table of moves."""

import subprocess
import sys
from pathlib import Path

from jobhall.states import HELD_STATES, TERMINAL_STATES, WAITING_STATES, JobState
from jobhall_server.domain.moves import DELETABLE, MOVES, TERMINAL
from scripts.states import PAGE, STATES, page, who_moves_on


def test_every_state_says_who_moves_the_job_on() -> None:
    said = who_moves_on()

    assert set(said) == set(JobState)
    assert [
        state.name for state in STATES if not any(word in said[state] for word in ("moves it on", "Terminal"))
    ] == []


def test_every_state_that_is_not_terminal_is_left_by_some_move_and_a_terminal_one_by_retry_alone() -> None:
    by_itself = {source for name, ways in MOVES.items() if name != "retry" for source in ways}

    assert by_itself == set(STATES) - TERMINAL
    assert set(MOVES["retry"]) == {JobState.FAILED, JobState.CANCELLED}


def test_a_job_waits_or_is_held_or_has_ended() -> None:
    kinds = (WAITING_STATES, HELD_STATES, TERMINAL_STATES)

    assert [sum(state in kind for kind in kinds) for state in STATES] == [1] * len(STATES)
    assert TERMINAL == TERMINAL_STATES
    assert set(STATES) - HELD_STATES == DELETABLE


def test_the_page_of_states_is_the_table_of_moves() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run `python scripts/states.py`"


def test_the_check_of_the_page_says_what_to_do_when_it_is_stale(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from scripts import states; "
        f"states.PAGE = Path({str(tmp_path / 'states.md')!r}); sys.argv = ['states.py', *sys.argv[1:]]; "
        "sys.exit(states.main())"
    )

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", script, *arguments],
            cwd=Path(__file__).resolve().parents[2],
            capture_output=True,
            text=True,
            check=False,
        )

    stale, written, fresh = run("--check"), run("generate"), run("--check")

    assert (stale.returncode, written.returncode, fresh.returncode) == (1, 0, 0)
    assert "run `python scripts/states.py`" in stale.stderr
