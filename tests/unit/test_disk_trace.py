"""What is read from a trace of strace: the calls that changed a folder's files, each whole, and none overlooked."""

from pathlib import Path

import pytest

from tests.support.disk_trace import FOLDER, NEVER, Kind, Operation, is_complete, operations


def test_each_call_on_the_folders_files_is_read_with_its_times(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    lines = [
        f'7     100.000000001 openat(AT_FDCWD<\\x2f>, "{hexed(disk / "db")}", O_RDWR|O_CREAT, 0644) = 5 <0.000000010>',
        f'7     100.000000020 pwrite64(5<{hexed(disk / "db")}>, "{hexed("abc")}", 3, 512) = 3 <0.000000004>',
        f"7     100.000000030 fdatasync(5<{hexed(disk / 'db')}>)       = 0 <0.000000100>",
        f"7     100.000000200 ftruncate(5<{hexed(disk / 'db')}>, 4096) = 0 <0.000000001>",
        f"7     100.000000210 fsync(6<{hexed(disk)}>) = 0 <0.000000001>",
        f'7     100.000000220 unlink("{hexed(disk / "db")}") = 0 <0.000000002>',
    ]

    assert read(tmp_path, lines) == [
        operation(Kind.CREATE, "db", 1, 11),
        operation(Kind.WRITE, "db", 20, 24, offset=512, content=b"abc"),
        operation(Kind.SYNC, "db", 30, 130),
        operation(Kind.RESIZE, "db", 200, 201, offset=4096),
        operation(Kind.SYNC, FOLDER, 210, 211),
        operation(Kind.REMOVE, "db", 220, 222),
    ]


def test_a_call_that_others_came_between_is_put_together(tmp_path: Path) -> None:
    file = hexed(tmp_path / "disk" / "db")
    lines = [
        f"7     100.000000010 fdatasync(5<{file}> <unfinished ...>",
        f'8     100.000000020 pwrite64(5<{file}>, "{hexed("x")}", 1, 0 <unfinished ...>',
        "7     100.000000030 <... fdatasync resumed>)  = 0 <0.000000021>",
        "8     100.000000040 <... pwrite64 resumed>)   = 1 <0.000000022>",
    ]

    assert read(tmp_path, lines) == [
        operation(Kind.SYNC, "db", 10, 31),
        operation(Kind.WRITE, "db", 20, 42, content=b"x"),
    ]


@pytest.mark.parametrize("end", [" <unfinished ...>", " <unfinished ...>) = ?", ")             = ?"])
def test_a_call_in_which_the_program_was_killed_never_ended(tmp_path: Path, end: str) -> None:
    lines = [
        f"7     100.000000010 fdatasync(5<{hexed(tmp_path / 'disk' / 'db')}>{end}",
        "7     100.000000020 +++ killed by SIGKILL +++",
    ]

    assert read(tmp_path, lines) == [operation(Kind.SYNC, "db", 10, NEVER - 100 * 10**9)]


def test_what_changes_no_file_that_counts_is_passed_over(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    lines = [
        f'7     100.000000010 unlink("{hexed(disk / "db-wal")}") = -1 ENOENT (No such file or directory) <0.000000001>',
        f'7     100.000000020 pwrite64(5<{hexed(disk / "db-wal")}>(deleted), "{hexed("x")}", 1, 0) = 1 <0.000000001>',
        f'7     100.000000030 pwrite64(5<{hexed(disk / "db-shm")}>, "{hexed("x")}", 1, 0) = 1 <0.000000001>',
        f'7     100.000000040 write(5<{hexed(disk / "db.lock")}>, "{hexed("7")}", 1) = 1 <0.000000001>',
        f'7     100.000000050 write(1<{hexed(tmp_path / "log")}>, "{hexed(disk / "db")}", 20) = 20 <0.000000001>',
        f'7     100.000000060 openat(AT_FDCWD<\\x2f>, "{hexed(disk)}", O_RDONLY) = 6<{hexed(disk)}> <0.000000001>',
        f"7     100.000000070 mmap(NULL, 9, PROT_READ, MAP_SHARED, 5<{hexed(disk / 'db')}>, 0) = 0x7f01 <0.000000001>",
    ]

    assert read(tmp_path, lines) == []


@pytest.mark.parametrize(
    "call",
    [
        'write(5<{file}>, "\\x41", 1) = 1 <0.000000001>',
        'openat(AT_FDCWD<\\x2f>, "{file}", O_WRONLY|O_CREAT|O_TRUNC, 0644) = 5<{file}> <0.000000001>',
        'rename("\\x2f\\x61", "{file}") = 0 <0.000000001>',
        "mmap(NULL, 9, PROT_READ|PROT_WRITE, MAP_SHARED, 5<{file}>, 0) = 0x7f01 <0.000000001>",
        "fallocate(5<{file}>, 0, 0, 4096) = 0 <0.000000001>",
    ],
)
def test_a_change_that_is_not_modelled_is_not_overlooked(tmp_path: Path, call: str) -> None:
    with pytest.raises(AssertionError, match="not modelled"):
        read(tmp_path, [f"7     100.000000010 {call.format(file=hexed(tmp_path / 'disk' / 'db'))}"])


def test_a_trace_is_complete_when_it_has_the_programs_end(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    trace.write_text("8     100.000000010 +++ exited with 0 +++\n")
    of_a_thread = is_complete(trace, 7)
    trace.write_text("8     100.000000010 +++ exited with 0 +++\n7     100.000000020 +++ exited with 0 +++\n")

    assert (of_a_thread, is_complete(trace, 7)) == (False, True)


def read(folder: Path, lines: list[str]) -> list[Operation]:
    trace = folder / "trace"
    trace.write_text("".join(f"{line}\n" for line in lines))
    return operations(trace, folder / "disk")


def operation(kind: Kind, name: str, started: int, ended: int, *, offset: int = 0, content: bytes = b"") -> Operation:
    """With its times as nanoseconds after second 100."""
    second = 100 * 10**9
    return Operation(
        kind=kind, name=name, started_at=second + started, ended_at=second + ended, offset=offset, content=content
    )


def hexed(text: object) -> str:
    return "".join(f"\\x{byte:02x}" for byte in str(text).encode())
