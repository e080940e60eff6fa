"""How much a worker asks for: as much as it runs at once, and a little work ahead where that work is short."""

from jobhall.worker.credit import Credit
from jobhall.worker.held import Handler, HeldTask
from tests.support.stream_machine import assignment


def credit(*, concurrency: int = 10, prefetch_max: int = 1000, limits: dict[str, int] | None = None) -> Credit:
    return Credit(concurrency=concurrency, prefetch_max=prefetch_max, limits=limits or {})


def a_task(job_type: str = "resize") -> HeldTask:
    return HeldTask(assignment(1, job_type=job_type), Handler(job_type, repr, None, is_async=False), 0.0)


def ended(seconds: float, *, count: int, job_type: str = "resize") -> list[HeldTask]:
    """So many tasks, which took so long together."""
    tasks = [a_task(job_type) for _ in range(count)]
    tasks[0].seconds = seconds
    return tasks


def running(*began_at: float) -> dict[HeldTask, float]:
    return {a_task(): at for at in began_at}


def asked(credit: Credit) -> int:
    return credit.capacity(zombies={}).tasks_max


def test_nothing_is_prefetched_while_it_is_unknown_how_long_handlers_take() -> None:
    fresh = credit()

    fresh.check(1.0, running={})

    assert asked(fresh) == 10


def test_short_handlers_have_a_tenth_of_a_second_of_work_ahead() -> None:
    short = credit()

    short.note(ended(1.0, count=100))
    short.check(1.0, running={})

    assert asked(short) == 10 + 100


def test_handlers_that_take_long_have_nothing_ahead_so_that_no_task_waits_while_another_worker_is_idle() -> None:
    long = credit(concurrency=1)

    long.note(ended(20.0, count=10))
    long.check(1.0, running={})

    assert asked(long) == 1


def test_one_quick_end_is_no_reason_to_take_a_thousand() -> None:
    hasty = credit()

    hasty.note(ended(0.00001, count=1))
    hasty.check(1.0, running={})

    assert asked(hasty) == 10 + 4


def test_handlers_that_are_stuck_take_no_part() -> None:
    stuck = credit(concurrency=2)
    stuck.note(ended(0.1, count=100))
    stuck.check(1.0, running={})
    assert asked(stuck) == 2 + 200

    stuck.check(3.0, running=running(1.0, 1.0))

    assert asked(stuck) == 2


def test_small_changes_are_not_worth_a_message() -> None:
    steady = credit()
    steady.note(ended(1.0, count=100))
    steady.check(1.0, running={})

    steady.note(ended(1.1, count=100))
    steady.check(2.0, running={})

    assert asked(steady) == 110


def test_a_type_with_a_limit_has_work_ahead_as_its_own_handlers_are_short() -> None:
    limited = credit(limits={"short": 2, "unknown": 3})
    limited.note(ended(1.0, count=100, job_type="short"))
    limited.check(1.0, running={})

    bounds = {of.job_type: of.tasks_max for of in limited.capacity(zombies={}).types}

    assert bounds == {"short": 2 + 20, "unknown": 3}


def test_nobody_asks_for_more_than_the_server_allows_nor_for_runners_that_lost_tasks_keep_busy() -> None:
    bounded = credit()
    bounded.tasks_max = 5

    assert asked(bounded) == 5
    assert bounded.capacity(zombies={"resize": 7}).tasks_max == 3


def test_a_paused_worker_asks_for_nothing() -> None:
    paused = credit()

    paused.paused = True

    assert asked(paused) == 0
