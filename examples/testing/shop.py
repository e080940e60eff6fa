"""A small shop: its pages submit jobs, its worker runs them. What there is to know of testing it is in test_shop.py."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import jobhall

worker = jobhall.Worker(name="shop", concurrency=2)


class BankAwayError(Exception):
    """The bank did not answer; it may later."""


class Bank:
    """Where the money is."""

    def charge(self, card: str, cents: int) -> str:
        raise BankAwayError(f"no bank to charge {card} with {cents} cents")


bank: Bank = Bank()


def place_order(number: str, card: str, cents: int) -> str:
    """What the page behind the button does; the id of the job that charges the card."""
    with jobhall.Client() as client:
        job = client.jobs.submit(
            "charge",
            {"order": number, "card": card, "cents": cents},
            unique_key=f"charge-{number}",
            labels={"order": number},
            retry_policy=jobhall.RetryPolicy(initial_delay=timedelta(hours=1), jitter=0),
        )
    return job.id


@worker.handler("charge")
def charge(task: jobhall.Task) -> dict[str, Any]:
    """Charges the card, and asks for an opinion two weeks later."""
    if task.parameters["cents"] <= 0:
        raise jobhall.TaskFailed("there is nothing to pay", code="NO_AMOUNT", retryable=False)
    receipt = bank.charge(task.parameters["card"], task.parameters["cents"])
    with jobhall.Client() as client:
        client.jobs.submit("ask-opinion", {"order": task.parameters["order"]}, schedule_time=timedelta(days=14))
    return {"receipt": receipt}


@worker.handler("ask-opinion")
async def ask_opinion(task: jobhall.Task) -> str:
    """Writes the mail."""
    return f"How do you like what you ordered ({task.parameters['order']})?"


if __name__ == "__main__":
    worker.run()
