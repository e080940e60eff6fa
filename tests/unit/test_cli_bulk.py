"""Changing all jobs of a filter: counted, agreed to, done, and told."""

import io
from typing import Any

import pytest

from jobhall.cli.bulk import Matching, change_matching
from jobhall.cli.context import Context
from jobhall.cli.exits import Exit
from jobhall.cli.lines import Lines
from jobhall.errors import ServerUnreachableError
from jobhall.model_insight import BulkOutcome

CONTEXT = Context(address=None, token=None, as_json=False, output=Lines())


class Hall:
    """What a server would answer, and what it was asked."""

    def __init__(self, would: BulkOutcome, did: BulkOutcome) -> None:
        self._would = would
        self._did = did
        self.asked: list[dict[str, Any]] = []

    def change(self, **options: Any) -> BulkOutcome:
        self.asked.append(options)
        return self._would if options["dry_run"] else self._did


def test_a_dry_run_only_counts(capsys: pytest.CaptureFixture[str]) -> None:
    hall = Hall(BulkOutcome(count=1000, more=True), BulkOutcome(count=7))

    code = change_matching(hall.change, Matching(filter="type = x", dry_run=True), CONTEXT, verb="cancelled")

    assert code is Exit.OK
    assert hall.asked == [{"filter": "type = x", "namespace": "", "dry_run": True}]
    assert capsys.readouterr().out == "more than 1000 jobs would be cancelled\n"


def test_without_asking_it_is_done_and_what_was_left_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    hall = Hall(BulkOutcome(count=3), BulkOutcome(count=1, skipped=2))

    code = change_matching(hall.change, Matching(namespace="red", yes=True), CONTEXT, verb="retried")

    output = capsys.readouterr()
    assert code is Exit.OK
    assert hall.asked == [{"namespace": "red", "jobs_max": 1000, "dry_run": False}]
    assert output.out == "retried 1 job\n"
    assert output.err == "jobhall: 2 jobs left: others have their unique keys meanwhile\n"


@pytest.mark.parametrize("typed", ["y\n", "YES\n"])
def test_it_is_done_once_it_was_agreed_to(
    typed: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hall = Hall(BulkOutcome(count=3), BulkOutcome(count=3))
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))

    code = change_matching(hall.change, Matching(filter="type = x"), CONTEXT, verb="cancelled")

    output = capsys.readouterr()
    assert code is Exit.OK
    assert [asked["dry_run"] for asked in hall.asked] == [True, False]
    assert output.err == "3 jobs would be cancelled. Go on? [y/N] "
    assert output.out == "cancelled 3 jobs\n"


@pytest.mark.parametrize("typed", ["", "\n", "n\n", "yep\n"])
def test_anything_but_yes_changes_nothing(
    typed: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hall = Hall(BulkOutcome(count=1), BulkOutcome(count=1))
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))

    code = change_matching(hall.change, Matching(filter="type = x"), CONTEXT, verb="cancelled")

    output = capsys.readouterr()
    assert code is Exit.FAILED
    assert [asked["dry_run"] for asked in hall.asked] == [True]
    assert output.out == ""
    assert output.err.endswith("jobhall: nothing was changed\n")


def test_of_nothing_nobody_is_asked_and_what_comes_to_match_meanwhile_is_left(
    capsys: pytest.CaptureFixture[str],
) -> None:
    hall = Hall(BulkOutcome(count=0), BulkOutcome(count=5))

    assert change_matching(hall.change, Matching(), CONTEXT, verb="purged") is Exit.OK
    assert [asked["dry_run"] for asked in hall.asked] == [True]
    assert capsys.readouterr().out == "purged 0 jobs\n"


class Interrupted:
    """Changes two thousand, and then does not answer any more."""

    def __init__(self, end: BaseException) -> None:
        self._steps: list[BulkOutcome | BaseException] = [
            BulkOutcome(count=1000, more=True),
            BulkOutcome(count=1000, more=True),
            end,
        ]

    def change(self, **_options: Any) -> BulkOutcome:
        step = self._steps.pop(0)
        if isinstance(step, BaseException):
            raise step
        return step


@pytest.mark.parametrize("end", [ServerUnreachableError("hall:50051"), KeyboardInterrupt()])
def test_who_interrupts_it_or_loses_the_server_is_told_how_far_it_came(
    end: BaseException, capsys: pytest.CaptureFixture[str]
) -> None:
    """A server that was killed in the middle of a purge left the operator with its address, and no number."""
    with pytest.raises(type(end)):
        change_matching(Interrupted(end).change, Matching(yes=True), CONTEXT, verb="purged")

    assert capsys.readouterr().err == "jobhall: purged 2000 jobs or more until then; say it again for the rest\n"


def test_all_steps_are_counted_together(capsys: pytest.CaptureFixture[str]) -> None:
    steps = [BulkOutcome(count=1000, more=True), BulkOutcome(count=7, skipped=2)]

    assert change_matching(lambda **_: steps.pop(0), Matching(yes=True), CONTEXT, verb="retried") is Exit.OK
    assert capsys.readouterr().out == "retried 1007 jobs\n"
