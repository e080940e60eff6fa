"""How a user tests what submits jobs and what runs them: the fixture `jobhall` is a real server for each test."""

from datetime import timedelta

import pytest

from examples.testing import shop
from jobhall import JobState
from jobhall_server.testing import Jobhall


class ObedientBank(shop.Bank):
    """A bank that is away as often as it is told, and then charges whatever it is asked to."""

    def __init__(self, *, away: int = 0) -> None:
        self.away = away

    def charge(self, card: str, cents: int) -> str:
        self.away -= 1
        if self.away >= 0:
            return super().charge(card, cents)
        return f"receipt for {cents} cents"


@pytest.fixture
def jobhall(jobhall: Jobhall, monkeypatch: pytest.MonkeyPatch) -> Jobhall:
    """The shop's own fixture: its job types are known, as where its worker was there once, and the bank is there."""
    jobhall.register(shop.worker)
    monkeypatch.setattr(shop, "bank", ObedientBank())
    return jobhall


def test_an_order_is_to_be_paid(jobhall: Jobhall) -> None:
    shop.place_order("A1", "4711", cents=950)

    jobhall.assert_submitted("charge", {"order": "A1", "cents": 950}, count=1, labels={"order": "A1"})
    jobhall.assert_not_submitted("ask-opinion")


def test_what_was_ordered_is_paid(jobhall: Jobhall) -> None:
    job_id = shop.place_order("A1", "4711", cents=950)

    jobhall.run(shop.worker)

    jobhall.assert_completed(job_id, {"receipt": "receipt for 950 cents"})


def test_two_weeks_later_the_customer_is_asked(jobhall: Jobhall) -> None:
    shop.place_order("A1", "4711", cents=950)
    jobhall.run(shop.worker)
    assert jobhall.assert_submitted("ask-opinion").state is JobState.SCHEDULED

    jobhall.clock.advance(timedelta(days=14))

    (mail,) = jobhall.run(shop.worker)
    assert mail.result == "How do you like what you ordered (A1)?"


def test_an_order_of_nothing_is_not_tried_again(jobhall: Jobhall) -> None:
    job_id = shop.place_order("A1", "4711", cents=0)

    jobhall.run(shop.worker, raise_errors=False)

    assert jobhall.assert_failed(job_id, code="NO_AMOUNT").attempt == 1


def test_while_the_bank_is_away_the_order_waits(jobhall: Jobhall, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shop, "bank", ObedientBank(away=2))
    job_id = shop.place_order("A1", "4711", cents=950)

    jobhall.run(shop.worker, raise_errors=False)
    jobhall.clock.advance(timedelta(hours=1))
    jobhall.run(shop.worker, raise_errors=False)
    jobhall.clock.advance(timedelta(hours=2))
    jobhall.run(shop.worker)

    assert jobhall.assert_completed(job_id).attempt == 3


@pytest.mark.jobhall(retention_completed_seconds=60)
def test_what_is_paid_is_forgotten_after_a_minute(jobhall: Jobhall) -> None:
    jobhall.perform(shop.worker, "charge", {"order": "A1", "card": "4711", "cents": 950})

    jobhall.clock.advance(60)

    jobhall.assert_not_submitted("charge")
