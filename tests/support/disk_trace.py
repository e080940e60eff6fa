"""What a program does to the files of one folder, as strace sees it: every creation, write, sync and removal.

A database's shared memory and lock are no part of what it keeps, and are passed over. A call that might change a file
in a way that is not modelled here fails the reading, so that nothing goes by unseen.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

NEVER = 2**63
"""The end of a call in which the program was killed."""
FOLDER = ""
"""The name that the folder itself has among its files."""
PASSED_OVER = ("-shm", ".lock")

_BY_PATH = "open,openat,creat,truncate,rename,renameat,renameat2,link,linkat,unlink,unlinkat"
_BY_FILE = (
    "write,writev,pwrite64,pwritev,pwritev2,ftruncate,fallocate,copy_file_range,sendfile,splice,mmap,fsync,fdatasync"
)
_CALL = re.compile(r"(\w+)\((.*)\) += (-?\w+)\b.* <(\d+\.\d{9})>")
_CUT_SHORT = re.compile(r" <unfinished \.\.\.>(\) += \?)?$|\) += \?$")


class Kind(Enum):
    CREATE = auto()
    REMOVE = auto()
    WRITE = auto()
    RESIZE = auto()
    SYNC = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One call that succeeded or never ended. Times are nanoseconds of the clock that `time.time_ns` reads."""

    kind: Kind
    name: str
    """Of the file in the folder; a sync may be of FOLDER."""
    started_at: int
    ended_at: int
    offset: int = 0
    """Where a write begins; of RESIZE the new size."""
    content: bytes = b""


def traced(strace: Path, command: Sequence[str], trace: Path) -> list[str]:
    """The command that runs this one and writes the trace. The program itself is the child, the tracer stands aside."""
    options = ["--daemonize", "--follow-forks", "--seccomp-bpf", "--decode-fds=path", "--strings-in-hex=all"]
    options += ["--string-limit=4194304", "--absolute-timestamps=format:unix,precision:ns", "--syscall-times=ns"]
    return [str(strace), *options, f"--trace={_BY_PATH},{_BY_FILE}", f"--output={trace}", *command]


def is_complete(trace: Path, pid: int) -> bool:
    """Whether the tracer, which outlives the program by a moment, has written down the program's end."""
    with trace.open("rb") as file:
        file.seek(max(0, trace.stat().st_size - 4096))
        return re.search(rb"^%d +\S+ \+\+\+ " % pid, file.read(), re.MULTILINE) is not None


def operations(trace: Path, folder: Path) -> list[Operation]:
    """What happened to the folder's files, in the order in which it began."""
    place = _hex(f"{folder.resolve()}")
    found = [_operation(call, started_at, folder.resolve()) for call, started_at in _calls(trace) if place in call]
    return sorted((operation for operation in found if operation), key=lambda operation: operation.started_at)


def _calls(trace: Path) -> Iterator[tuple[str, int]]:
    """Each call on one line with its start, also where other threads' calls came between its two halves."""
    begun: dict[str, tuple[str, int]] = {}
    with trace.open() as lines:
        for line in lines:
            thread, clock, call = line.rstrip("\n").split(maxsplit=2)
            if call.startswith(("+++ ", "--- ")):
                continue
            started_at = int(clock.replace(".", ""))
            if call.startswith("<... "):
                before, started_at = begun.pop(thread)
                call = before + call.partition(" resumed>")[2]
            if _CUT_SHORT.search(call):
                begun[thread] = _CUT_SHORT.sub("", call), started_at
            else:
                yield call, started_at
    yield from begun.values()


def _operation(call: str, started_at: int, folder: Path) -> Operation | None:
    """What the call did to a file of the folder; None where it did nothing, or to a file that does not count."""
    if ended := _CALL.fullmatch(call):
        function, words, answer, took = ended.groups()
        ended_at = started_at + int(took.replace(".", ""))
    else:
        function, _, words = call.partition("(")
        answer, ended_at = "?", NEVER
    arguments = words.split(", ")
    names = [name for name in _names(function, arguments, folder) if not name.endswith(PASSED_OVER)]
    if not names or answer.startswith("-"):
        return None
    kind, offset, content = None, 0, b""
    match function:
        case "open" | "openat" if "O_TRUNC" not in call:
            kind = Kind.CREATE if "O_CREAT" in call else None
        case "mmap" if "PROT_WRITE" not in call or "MAP_SHARED" not in call:
            pass
        case "pwrite64":
            written = None if answer == "?" else int(answer)
            kind, offset, content = Kind.WRITE, int(arguments[3]), _bytes(arguments[1])[:written]
        case "ftruncate":
            kind, offset = Kind.RESIZE, int(arguments[1])
        case "fsync" | "fdatasync":
            kind = Kind.SYNC
        case "unlink":
            kind = Kind.REMOVE
        case _:
            raise AssertionError(f"a change of {names} that is not modelled: {call[:400]}")
    if kind is None:
        return None
    return Operation(kind=kind, name=names[0], started_at=started_at, ended_at=ended_at, offset=offset, content=content)


def _names(function: str, arguments: Sequence[str], folder: Path) -> Iterator[str]:
    """Of the folder's files that the call is about. A file that was removed from it is none of them."""
    by_path = function in _BY_PATH.split(",")
    for argument in arguments:
        if argument.startswith("AT_FDCWD") or argument.startswith('"') is not by_path or argument.endswith("(deleted)"):
            continue
        path = argument.strip('"') if by_path else argument.partition("<")[2].partition(">")[0]
        if path == _hex(f"{folder}"):
            yield FOLDER
        elif path.startswith(_hex(f"{folder}/")):
            yield _bytes(path).decode().removeprefix(f"{folder}/")


def _hex(text: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in text.encode())


def _bytes(text: str) -> bytes:
    assert not text.endswith("..."), "the trace cuts what was written"
    return bytes.fromhex(text.strip('"').replace("\\x", ""))
