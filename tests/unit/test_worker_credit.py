"""How much a worker asks for: as much as it runs at once, and a little work ahead where that work is short."""

from jobhall.worker.credit import Credit


def credit(*, concurrency: int = 10, prefetch_max: int = 1000, limits: dict[str, int] | None = None) -> Credit:
    return Credit(concurrency=concurrency, prefetch_max=prefetch_max, limits=limits or {})


def asked(credit: Credit) -> int:
    return credit.capacity(zombies=0).tasks_max


def test_nothing_is_prefetched_while_it_is_unknown_how_long_handlers_take() -> None:
    fresh = credit()

    fresh.check(1.0, running_since=[])

    assert asked(fresh) == 10


def test_short_handlers_have_a_tenth_of_a_second_of_work_ahead() -> None:
    short = credit()

    short.note(seconds=1.0, count=100)
    short.check(1.0, running_since=[])

    assert asked(short) == 10 + 100


def test_handlers_that_take_long_have_nothing_ahead_so_that_no_task_waits_while_another_worker_is_idle() -> None:
    long = credit(concurrency=1)

    long.note(seconds=20.0, count=10)
    long.check(1.0, running_since=[])

    assert asked(long) == 1


def test_one_quick_end_is_no_reason_to_take_a_thousand() -> None:
    hasty = credit()

    hasty.note(seconds=0.00001, count=1)
    hasty.check(1.0, running_since=[])

    assert asked(hasty) == 10 + 4


def test_handlers_that_are_stuck_take_no_part() -> None:
    stuck = credit(concurrency=2)
    stuck.note(seconds=0.1, count=100)
    stuck.check(1.0, running_since=[])
    assert asked(stuck) == 2 + 200

    stuck.check(3.0, running_since=[1.0, 1.0])

    assert asked(stuck) == 2


def test_small_changes_are_not_worth_a_message() -> None:
    steady = credit()
    steady.note(seconds=1.0, count=100)
    steady.check(1.0, running_since=[])

    steady.note(seconds=1.1, count=100)
    steady.check(2.0, running_since=[])

    assert asked(steady) == 110


def test_a_types_limit_grows_with_its_share_of_what_is_ahead() -> None:
    limited = credit(limits={"slow": 2})
    limited.note(seconds=1.0, count=100)
    limited.check(1.0, running_since=[])

    (of_slow,) = limited.capacity(zombies=0).types

    assert (of_slow.job_type, of_slow.tasks_max) == ("slow", 2 + 20)


def test_nobody_asks_for_more_than_the_server_allows_nor_for_runners_that_lost_tasks_keep_busy() -> None:
    bounded = credit()
    bounded.tasks_max = 5

    assert asked(bounded) == 5
    assert bounded.capacity(zombies=7).tasks_max == 3


def test_a_paused_worker_asks_for_nothing() -> None:
    paused = credit()

    paused.paused = True

    assert asked(paused) == 0
