"""Disks that take no writes: a small real one that can be filled and made read-only, and limits of the kernel."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.tools import needed_tool, not_run

CHUNK = bytes(4096)
MOUNT = 'mount -t tmpfs -o "size=$2" none "$1" && echo mounted && exec cat'


class SmallDisk:
    """A tmpfs in a namespace of its own, for which nobody needs to be root.

    It is mounted at `folder` for the programs whose command begins with `entering`; the test itself looks at `path`.
    """

    def __init__(self, folder: Path, holder_pid: int) -> None:
        self.folder = folder
        self.path = Path(f"/proc/{holder_pid}/root{folder}")
        self.entering = [str(needed_tool("nsenter")), f"--target={holder_pid}", "--user", "--mount", "--"]

    def fill(self) -> None:
        """Leave not a byte."""
        with (self.path / "ballast").open("ab", buffering=0) as ballast:
            try:
                while True:
                    ballast.write(CHUNK)
            except OSError:
                return

    def empty(self) -> None:
        """Take away what `fill` put there."""
        (self.path / "ballast").unlink()

    def make_read_only(self) -> None:
        """Nothing may be open for writing on it: the kernel would refuse."""
        subprocess.run([*self.entering, "mount", "-o", "remount,ro", str(self.folder)], check=True, capture_output=True)


@contextmanager
def small_disk(folder: Path, *, size: str) -> Iterator[SmallDisk]:
    """A disk of that `size` (`8m`) that lasts as long as the block; a machine that allows none says so loudly."""
    folder.mkdir()
    command = [str(needed_tool("unshare")), "--map-root-user", "--mount", "sh", "-c", MOUNT, "sh", str(folder), size]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        if holder.stdout.readline() != b"mounted\n":
            _, said = holder.communicate()
            raise not_run(f"this machine lets nobody mount a disk of their own: {said.decode().strip()}")
        yield SmallDisk(folder, holder.pid)
    finally:
        # `cat` ends with its input.
        holder.communicate()


@contextmanager
def no_file_longer_than(size_bytes: int, *, pid: int = 0) -> Iterator[None]:
    """Writes beyond are refused with EFBIG, here or in that process; to SQLite that is what EROFS and EDQUOT are."""
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
