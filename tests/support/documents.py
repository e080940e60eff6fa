"""Runs the code blocks of a Markdown document as a reader would: in order, in one scratch folder.

An HTML comment on the line before a block says what to do with it; CONTRIBUTING.md lists them.
"""

import os
import re
import shlex
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from tests.support.ports import free_port
from tests.support.waiting import eventually

BIN = Path(sys.prefix) / "bin"
RUNNABLE = {"bash", "sh", "console", "python", "py", "js", "javascript"}
DIRECTIVE = re.compile(r"<!--\s*test:\s*(?P<words>.*?)\s*-->\s*$")
FENCE = re.compile(r"^(?P<fence>```+)(?P<language>[\w+-]*)")
BLOCK_SECONDS = 60
DEFAULT_PORT = "50051"
# Exported variables outlive their block, as they do in a reader's terminal.
SHELL = "set -a; [ ! -f .variables ] || . ./.variables; {block}\nexport -p > .variables"


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    line: int
    language: str
    text: str
    directive: tuple[str, ...]


def blocks_of(document: str) -> list[Block]:
    """Every fenced block with the words of the directive before it, if there is one."""
    found: list[Block] = []
    lines = iter(enumerate(document.splitlines(), start=1))
    directive: tuple[str, ...] = ()
    for number, line in lines:
        if match := DIRECTIVE.search(line):
            directive = tuple(shlex.split(match["words"]))
        elif match := FENCE.match(line):
            body: list[str] = []
            for _, inner in lines:
                if inner.startswith(match["fence"]):
                    break
                body.append(inner)
            text = "".join(f"{inner}\n" for inner in body)
            found.append(Block(line=number, language=match["language"], text=text, directive=directive))
            directive = ()
        elif line.strip():
            directive = ()
    return found


@dataclass(slots=True)
class Reader:
    """One reader at one terminal: a folder, a port in place of the default one, and what was started and still runs."""

    folder: Path
    port: int = field(default_factory=free_port)
    output: str = ""
    running: list[tuple[Block, subprocess.Popen[bytes]]] = field(default_factory=list)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Stops what was started, last first, as Ctrl-C would."""
        while self.running:
            block, process = self.running.pop()
            self._stop(block, process, signal.SIGTERM)

    def follow(self, block: Block) -> None:
        """Does what the block's directive says, and raises AssertionError where it does not work."""
        match block.directive:
            case ("run",):
                self._run(block)
            case ("run", "until", text):
                self._stop(block, self._start(block, until=text), signal.SIGINT)
            case ("start", "until", text):
                self.running.append((block, self._start(block, until=text)))
            case ("file", name):
                (self.folder / name).write_text(self._rewritten(block))
            case ("output",):
                self._compare(block)
            case ("skip", _, *_):
                pass
            case _:
                raise AssertionError(f"line {block.line}: what is {block.directive!r}?")

    def _run(self, block: Block) -> None:
        done = subprocess.run(
            self._command(block),
            cwd=self.folder,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=BLOCK_SECONDS,
            check=False,
        )
        self.output = done.stdout.decode()
        assert done.returncode == 0, f"line {block.line}: exit code {done.returncode}\n{block.text}\n{self.output}"

    def _start(self, block: Block, *, until: str) -> subprocess.Popen[bytes]:
        log = self.folder / f".output-{block.line}"
        with log.open("wb") as out:
            process = subprocess.Popen(
                self._command(block),
                cwd=self.folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            eventually(
                lambda: until in log.read_text() or process.poll() is not None,
                within=BLOCK_SECONDS,
                what=f"line {block.line}: {until!r} in the output",
            )
        except AssertionError as error:
            self._stop(block, process, signal.SIGKILL)
            raise AssertionError(f"{error}\n{log.read_text()}") from None
        self.output = log.read_text()
        assert until in self.output, f"line {block.line}: it ended without {until!r}\n{self.output}"
        return process

    def _stop(self, block: Block, process: subprocess.Popen[bytes], how: signal.Signals) -> None:
        if process.poll() is None:
            os.killpg(process.pid, how)
        try:
            process.wait(timeout=BLOCK_SECONDS / 4)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise AssertionError(f"line {block.line}: it did not stop on {how.name}") from None

    def _compare(self, block: Block) -> None:
        """The block is what the command before it printed; `…` stands for any text within a line."""
        pattern = ".*".join(re.escape(part) for part in block.text.strip().split("…"))
        assert re.search(pattern, self.output), f"line {block.line}: expected\n{block.text}\nbut it was\n{self.output}"

    def _command(self, block: Block) -> list[str]:
        text = self._rewritten(block)
        match block.language:
            case "python" | "py":
                return [sys.executable, "-c", text]
            case "console":
                typed = [line.removeprefix("$ ") for line in text.splitlines() if line.startswith("$ ")]
                return ["bash", "-euo", "pipefail", "-c", SHELL.format(block="\n".join(typed))]
            case _:
                return ["bash", "-euo", "pipefail", "-c", SHELL.format(block=text)]

    def _rewritten(self, block: Block) -> str:
        return re.sub(rf"\b{DEFAULT_PORT}\b", str(self.port), block.text)

    def _environment(self) -> dict[str, str]:
        address = f"127.0.0.1:{self.port}"
        return {
            **os.environ,
            "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}",
            "PYTHONUNBUFFERED": "1",
            "JOBHALL_LISTEN": address,
            "JOBHALL_ADDRESS": address,
        }
