"""What a disk may hold after a power cut: everything that was synced, and of the rest any part."""

import random
from collections.abc import Iterable, Iterator

from tests.support.disk_image import SECTOR_BYTES, Image, images
from tests.support.disk_trace import FOLDER, Kind, Operation

TRIES = 300
GONE = b"there is no such file"


def test_what_was_synced_is_always_there_and_what_was_not_in_some_images_only() -> None:
    history = [*made("db"), write(10, b"A"), sync(20), write(30, b"B", offset=1)]

    assert contents(history, cut_at=40) == {b"A", b"AB"}


def test_a_sync_covers_only_what_had_ended_before_it_began() -> None:
    during = [*made("db"), sync(10, ended=30), write(15, b"A")]
    overlapping = [*made("db"), write(10, b"A", ended=30), sync(20)]
    created = [*made("db"), create(10, "a", ended=30), sync(20, name=FOLDER)]

    assert contents(during, cut_at=40) == {b"", b"A"}
    assert contents(overlapping, cut_at=40) == {b"", b"A"}
    assert names(created, cut_at=40) == {("db",), ("a", "db")}


def test_a_sync_has_done_nothing_before_its_end() -> None:
    history = [*made("db"), write(10, b"A"), sync(20, ended=50)]

    assert contents(history, cut_at=50) == {b"", b"A"}
    assert contents(history, cut_at=51) == {b"A"}


def test_a_write_that_has_not_begun_is_in_no_image() -> None:
    assert contents([*made("db"), write(50, b"A")], cut_at=50) == {b""}


def test_writes_are_torn_at_sectors_and_kept_in_any_order() -> None:
    old, new = b"o" * 2 * SECTOR_BYTES, b"n" * 2 * SECTOR_BYTES
    history = [*made("db"), write(10, old), sync(20), write(30, new), write(40, b"L", offset=4 * SECTOR_BYTES)]

    found = contents(history, cut_at=50)

    assert {content[: 2 * SECTOR_BYTES] for content in found} == {
        first + second
        for first in (old[:SECTOR_BYTES], new[:SECTOR_BYTES])
        for second in (old[:SECTOR_BYTES], new[:SECTOR_BYTES])
    }
    late_alone = old + bytes(2 * SECTOR_BYTES) + b"L"
    assert late_alone in found


def test_an_unaligned_write_is_torn_where_the_disks_sectors_meet() -> None:
    history = [*made("db"), write(10, b"-" * SECTOR_BYTES), sync(20), write(30, b"ab", offset=SECTOR_BYTES - 1)]

    tails = {content[SECTOR_BYTES - 1 :] for content in contents(history, cut_at=40)}
    assert tails == {b"-", b"a", b"-b", b"ab"}


def test_a_new_size_is_as_uncertain_as_a_write() -> None:
    history = [*made("db"), write(10, b"abcd"), sync(20), resize(30, 2)]

    assert contents(history, cut_at=40) == {b"abcd", b"ab"}
    assert contents([*history, sync(40)], cut_at=50) == {b"ab"}


def test_names_last_once_their_folder_is_synced_and_until_then_in_their_order() -> None:
    history = [*made("db"), create(10, "a"), create(20, "b"), remove(30, "db")]

    assert names(history, cut_at=40) == {("db",), ("a", "db"), ("a", "b", "db"), ("a", "b")}
    assert names([*history, sync(40, name=FOLDER)], cut_at=50) == {("a", "b")}


def test_a_removed_file_that_comes_back_has_what_was_in_it_and_a_new_one_of_its_name_has_not() -> None:
    history = [
        *made("db"),
        write(10, b"old"),
        sync(20),
        remove(30, "db"),
        create(40, "db"),
        write(50, b"new"),
        sync(60),
    ]

    assert contents(history, cut_at=70) == {b"old", GONE, b"new"}


def test_the_figures_tell_what_was_not_synced_and_how_much_of_it_is_gone() -> None:
    history = [*made("db"), write(10, b"A"), sync(20), write(30, b"BCD", offset=1)]

    found = {(image.files["db"], image.unsynced_bytes, image.lost_bytes) for image in many(history, cut_at=40)}
    assert found == {(b"A", 3, 3), (b"ABCD", 3, 0)}


def contents(history: Iterable[Operation], *, cut_at: int) -> set[bytes]:
    """All that the file `db` may be after a cut."""
    return {image.files.get("db", GONE) for image in many(history, cut_at=cut_at)}


def names(history: Iterable[Operation], *, cut_at: int) -> set[tuple[str, ...]]:
    return {tuple(sorted(image.files)) for image in many(history, cut_at=cut_at)}


def many(history: Iterable[Operation], *, cut_at: int) -> Iterator[Image]:
    return images(history, cuts=[cut_at] * TRIES, chance=random.Random(1))


def made(name: str) -> list[Operation]:
    """The file is there for good from time 3 on."""
    return [create(0, name), sync(1, name=FOLDER, ended=3)]


def create(at: int, name: str, *, ended: int | None = None) -> Operation:
    return Operation(kind=Kind.CREATE, name=name, started_at=at, ended_at=at + 1 if ended is None else ended)


def remove(at: int, name: str) -> Operation:
    return Operation(kind=Kind.REMOVE, name=name, started_at=at, ended_at=at + 1)


def write(at: int, content: bytes, *, offset: int = 0, ended: int | None = None) -> Operation:
    ended_at = at + 1 if ended is None else ended
    return Operation(kind=Kind.WRITE, name="db", started_at=at, ended_at=ended_at, offset=offset, content=content)


def resize(at: int, size: int) -> Operation:
    return Operation(kind=Kind.RESIZE, name="db", started_at=at, ended_at=at + 1, offset=size)


def sync(at: int, *, ended: int | None = None, name: str = "db") -> Operation:
    return Operation(kind=Kind.SYNC, name=name, started_at=at, ended_at=at + 1 if ended is None else ended)
