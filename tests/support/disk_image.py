"""What a disk may hold after a power cut: all that was synced by then, and any part of what was not, torn anywhere.

What a disk promises is taken narrowly. A write counts once a sync of its file returned that began after the write's
end. Until then each sector of it may have arrived or not, whatever came before or after. Creations and removals count
once their folder was synced; until then a disk may keep the first so many of them, as journalling file systems do.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.support.disk_trace import FOLDER, Kind, Operation

SECTOR_BYTES = 512
PAGE_BYTES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """The files after a cut."""

    cut_at: int
    files: dict[str, bytes]
    unsynced_bytes: int
    lost_bytes: int
    """Of those."""

    def write(self, folder: Path) -> Path:
        """Puts the files into a new folder."""
        folder.mkdir()
        for name, content in self.files.items():
            (folder / name).write_bytes(content)
        return folder


def images(operations: Iterable[Operation], *, cuts: Iterable[int], chance: random.Random) -> Iterator[Image]:
    """An image for each moment, in the order of time; how much of the unsynced is lost differs from cut to cut."""
    disk = _Disk()
    ahead = sorted(operations, key=_counts_from, reverse=True)
    for cut_at in sorted(cuts):
        while ahead and _counts_from(ahead[-1]) < cut_at:
            disk.take(ahead.pop())
        yield disk.image(cut_at, chance)


def _counts_from(operation: Operation) -> int:
    """A change may be on the disk from its start on; a sync has done its work at its end."""
    return operation.ended_at if operation.kind is Kind.SYNC else operation.started_at


@dataclass(slots=True)
class _File:
    synced: bytearray = field(default_factory=bytearray)
    unsynced: list[Operation] = field(default_factory=list)


class _Disk:
    def __init__(self) -> None:
        self._names: dict[str, _File] = {}
        """As the programs see them."""
        self._synced_names: dict[str, _File] = {}
        self._unsynced_names: list[tuple[Operation, _File]] = []

    def take(self, operation: Operation) -> None:
        match operation.kind:
            case Kind.CREATE if operation.name not in self._names:
                self._names[operation.name] = _File()
                self._unsynced_names.append((operation, self._names[operation.name]))
            case Kind.REMOVE:
                self._unsynced_names.append((operation, self._names.pop(operation.name)))
            case Kind.WRITE | Kind.RESIZE:
                self._names[operation.name].unsynced.append(operation)
            case Kind.SYNC if operation.name == FOLDER:
                done = [entry for entry in self._unsynced_names if entry[0].ended_at <= operation.started_at]
                self._unsynced_names = [entry for entry in self._unsynced_names if entry not in done]
                _rename(self._synced_names, done)
            case Kind.SYNC:
                file = self._names[operation.name]
                for change in file.unsynced:
                    if change.ended_at <= operation.started_at:
                        _change(file.synced, change)
                file.unsynced = [change for change in file.unsynced if change.ended_at > operation.started_at]

    def image(self, cut_at: int, chance: random.Random) -> Image:
        names = dict(self._synced_names)
        _rename(names, self._unsynced_names[: chance.randint(0, len(self._unsynced_names))])
        kept_part = chance.choice((0.0, 1.0, chance.random()))
        piece_bytes = chance.choice((SECTOR_BYTES, PAGE_BYTES))
        files, unsynced, lost = {}, 0, 0
        for name, file in names.items():
            content = bytearray(file.synced)
            for piece in _pieces(file.unsynced, piece_bytes):
                kept = chance.random() < kept_part
                unsynced += len(piece.content)
                if kept:
                    _change(content, piece)
                else:
                    lost += len(piece.content)
            files[name] = bytes(content)
        return Image(cut_at=cut_at, files=files, unsynced_bytes=unsynced, lost_bytes=lost)


def _rename(names: dict[str, _File], changes: Iterable[tuple[Operation, _File]]) -> None:
    for operation, file in changes:
        if operation.kind is Kind.CREATE:
            names[operation.name] = file
        else:
            names.pop(operation.name, None)


def _change(content: bytearray, operation: Operation) -> None:
    """What lies beyond the end of the file until then is zeros."""
    end = operation.offset + len(operation.content)
    content.extend(bytes(max(0, end - len(content))))
    if operation.kind is Kind.WRITE:
        content[operation.offset : end] = operation.content
    else:
        del content[end:]


def _pieces(operations: Iterable[Operation], piece_bytes: int) -> Iterator[Operation]:
    """Writes in the pieces in which a disk takes them."""
    for operation in operations:
        end = operation.offset + len(operation.content)
        starts = [
            operation.offset,
            *range(operation.offset // piece_bytes * piece_bytes + piece_bytes, end, piece_bytes),
        ]
        for start, stop in zip(starts, [*starts[1:], end], strict=True):
            part = operation.content[start - operation.offset : stop - operation.offset]
            yield replace(operation, offset=start, content=part)
