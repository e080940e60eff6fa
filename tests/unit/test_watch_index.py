"""The index of watchers: it finds whoever an event concerns, asks for nothing that concerns nobody, and forgets all."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from jobhall.states import EventType
from jobhall_server.domain.access import ANYBODY, Principal
from jobhall_server.hall.views import EventRow, LogFilter
from jobhall_server.hall.watch_filter import WatchFilter
from jobhall_server.hall.watch_index import NAMED_MAX, WatchIndex
from jobhall_server.hall.watch_queue import STORED, Subscription
from tests.support.events import event_row

NOTHING: frozenset[int] = frozenset()
LABELS = ("", '{"a":"1"}', '{"a":"2"}', '{"a":"1","b":"1"}')


def row(number: int = 1, **fields: Any) -> EventRow:
    return event_row(number, **{"job_id": "one", "namespace": "here", **fields})


def watcher(where: WatchFilter, principal: Principal = ANYBODY) -> Subscription:
    return Subscription(principal, where, since=0, wanted=STORED)


def small_sets(*values: str) -> st.SearchStrategy[frozenset[str]]:
    return st.frozensets(st.sampled_from(values), max_size=2)


FILTERS = st.builds(
    WatchFilter,
    namespace=st.sampled_from([None, "here", "there"]),
    job_ids=small_sets("one", "two", "three"),
    batch_key=st.sampled_from([None, 1, 2]),
    job_types=small_sets("score", "other"),
    owner=st.sampled_from(["", "me", "you"]),
    labels=st.sampled_from([(), (("a", "1"),), (("a", "2"),), (("a", "1"), ("b", "1"))]),
)
ROWS = st.builds(
    row,
    job_key=st.integers(1, 3),
    job_id=st.sampled_from(["one", "two", "three"]),
    namespace=st.sampled_from(["here", "there"]),
    job_type=st.sampled_from(["score", "other"]),
    owner=st.sampled_from(["me", "you"]),
    labels=st.sampled_from(LABELS),
    event_type=st.sampled_from([EventType.RUNNING, EventType.UPDATED, EventType.DELETED]),
    previous=st.sampled_from([None, *({"labels": text} for text in LABELS)]).map(
        lambda told: None if told is None else f'{{"labels":{_quoted(told["labels"])}}}'
    ),
    batch_key=st.sampled_from([None, 1, 2]),
)


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '\\"') + '"' if text else "null"


def reads(asked: LogFilter | None, event: EventRow) -> bool:
    if asked is None:
        return False
    return asked == LogFilter() or (
        event.namespace in asked.namespaces
        or (event.namespace, event.job_type) in asked.queues
        or event.job_id in asked.job_ids
        or event.job_key in asked.job_keys
        or event.batch_key in asked.batch_keys
    )


@given(st.lists(FILTERS, max_size=6), st.lists(ROWS, max_size=6))
def test_whoever_is_concerned_is_found_and_what_concerns_somebody_is_read(
    filters: list[WatchFilter], events: list[EventRow]
) -> None:
    index, watchers = WatchIndex(), [watcher(where) for where in filters]
    for one in watchers:
        index.add(one)

    for event in events:
        concerned = {one for one in watchers if one.where.seen_as(ANYBODY, event) is not None}
        asked = index.read(frozenset(index.watched([event.job_key])))
        assert reads(asked, event) or not concerned
        assert concerned <= set(index.find(event))

    for one in watchers:
        index.remove(one)
    assert len(index) == 0
    assert index.read(NOTHING) is None


def test_a_job_whose_key_is_known_is_read_by_it_alone() -> None:
    index = WatchIndex()
    index.add(watcher(WatchFilter(job_ids=frozenset({"one"}))))
    assert index.read(NOTHING) == LogFilter(job_ids=frozenset({"one"}))

    index.learn("one", 7)
    assert index.read(NOTHING) == LogFilter(job_ids=frozenset({"one"})), "events from before may still be unread"
    index.settle(index.learned())

    assert index.read(NOTHING) is None
    assert index.watched([5, 6, 7]) == {7}
    assert index.read(frozenset({7})) == LogFilter(job_keys=frozenset({7}))


def test_a_key_that_was_asked_for_before_its_job_was_deleted_is_not_believed() -> None:
    # The id may be that of another job by then, and its events would be looked for under the key of the dead one.
    index = WatchIndex()
    index.add(watcher(WatchFilter(job_ids=frozenset({"one"}))))
    assert list(index.find(row(event_type=EventType.DELETED)))

    index.learn("one", 1)
    index.settle(index.learned())
    assert index.read(NOTHING) == LogFilter(job_ids=frozenset({"one"}))

    assert list(index.find(row(number=2, job_key=2, event_type=EventType.SUBMITTED)))
    index.settle(index.learned())
    assert index.read(NOTHING) is None
    assert index.watched([1, 2]) == {2}


def test_progress_of_a_job_teaches_no_key() -> None:
    index = WatchIndex()
    index.add(watcher(WatchFilter(job_ids=frozenset({"one"}))))

    assert list(index.find(row(number=0)))

    assert index.unknown(["one"]) == ["one"]


def test_with_very_many_names_everything_is_read() -> None:
    index = WatchIndex()
    for number in range(NAMED_MAX + 1):
        index.add(watcher(WatchFilter(namespace="here", job_types=frozenset({f"type-{number}"}))))

    assert index.read(NOTHING) == LogFilter()


def test_two_watchers_of_one_job_do_not_part_when_one_leaves() -> None:
    index = WatchIndex()
    first, second = (watcher(WatchFilter(job_ids=frozenset({"one"}))) for _ in range(2))
    index.add(first)
    index.learn("one", 1)
    index.add(second)
    index.remove(first)

    assert index.watched([1]) == {1}
    assert list(index.find(row())) == [second]


def test_a_change_of_labels_is_found_under_the_old_ones_too() -> None:
    index = WatchIndex()
    before, after = (watcher(WatchFilter(namespace="here", labels=(("a", value),))) for value in "12")
    index.add(before)
    index.add(after)
    event = row(event_type=EventType.UPDATED, labels='{"a":"2"}', previous='{"labels":"{\\"a\\":\\"1\\"}"}')

    assert set(index.find(event)) == {before, after}
    assert before.where.seen_as(ANYBODY, event) is EventType.LEFT
    assert after.where.seen_as(ANYBODY, event) is EventType.ENTERED
