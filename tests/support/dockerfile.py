"""Follows a Dockerfile in a scratch folder without Docker: its commands, copies and environment, but no base image."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

INSTRUCTION = re.compile(r"^(?P<name>[A-Z]+)\s+(?P<rest>.*)$")


@dataclass(frozen=True, slots=True)
class Instruction:
    name: str
    rest: str

    @property
    def words(self) -> list[str]:
        """Its arguments, be they a JSON list or words; options such as `--from=build` are left out."""
        if found := re.search(r'\[".*"\]$', self.rest):
            listed: list[str] = json.loads(found[0])
            return listed
        return [word for word in shlex.split(self.rest) if not word.startswith("--")]

    def option(self, name: str) -> str | None:
        match = re.search(rf"--{name}=(\S+)", self.rest)
        return match[1] if match else None


def instructions_of(text: str) -> list[Instruction]:
    code = "\n".join(line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#"))
    matches = (INSTRUCTION.match(line) for line in code.replace("\\\n", " ").splitlines())
    return [Instruction(match["name"], " ".join(match["rest"].split())) for match in matches if match]


@dataclass(slots=True)
class Image:
    """The last stage, as far as it can be had here: every absolute path of the image lies below `root`."""

    context: Path
    root: Path
    workdir: str = "/"
    environment: dict[str, str] = field(default_factory=dict)
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    healthcheck: list[str] = field(default_factory=list)
    user: str = "root"
    volumes: list[str] = field(default_factory=list)
    ports: list[str] = field(default_factory=list)
    not_run: list[str] = field(default_factory=list)

    def build(self, instructions: list[Instruction]) -> None:
        for instruction in instructions:
            self._follow(instruction)

    def process_environment(self, **changes: str) -> dict[str, str]:
        python = Path(sys.executable).parent
        path = f"{python}{os.pathsep}{os.environ['PATH']}"
        own = {name: self.rebased(value).replace("$PATH", path) for name, value in self.environment.items()}
        return {"PATH": path, "HOME": str(self.root), **_network_settings(), **own, **changes}

    def rebased(self, text: str) -> str:
        """Every path of the image becomes one below `root`; those of the system stay what they are."""
        return re.sub(r"(?<![\w./])(/+)(?=(?:opt|src|data)\b)", lambda slash: f"{slash[1][:-1]}{self.root}/", text)

    def _follow(self, instruction: Instruction) -> None:
        words = instruction.words
        match instruction.name:
            case "FROM":
                self.environment, self.workdir = {}, "/"
            case "WORKDIR":
                self.workdir = words[0]
                self._path(words[0]).mkdir(parents=True, exist_ok=True)
            case "COPY":
                self._copy(words, stage=instruction.option("from"))
            case "RUN":
                self._run(instruction.rest)
            case "ENV":
                self.environment |= dict(word.split("=", 1) for word in words)
            case "USER":
                self.user = words[0]
            case "VOLUME":
                self.volumes = words
                self._path(words[0]).mkdir(parents=True, exist_ok=True)
            case "EXPOSE":
                self.ports = words
            case "HEALTHCHECK":
                self.healthcheck = words
            case "ENTRYPOINT":
                self.entrypoint = words
            case "CMD":
                self.command = words

    def _copy(self, words: list[str], *, stage: str | None) -> None:
        *sources, target = words
        for source in sources:
            if stage is not None:  # All stages share one root here: what was built is already there.
                assert self._path(source).exists(), source
            elif (found := self.context / source).is_dir():
                shutil.copytree(found, self._path(target), ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(found, self._path(target))

    def _run(self, command: str) -> None:
        if command.startswith("useradd"):  # Changes the machine, and needs root.
            self.not_run.append(command)
            return
        done = subprocess.run(
            ["sh", "-e", "-c", self.rebased(command)],
            cwd=self._path(self.workdir),
            env=self.process_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"RUN {command}\n{done.stdout}{done.stderr}"

    def _path(self, name: str) -> Path:
        return self.root / (name if name.startswith("/") else f"{self.workdir}/{name}").lstrip("/")


def _network_settings() -> dict[str, str]:
    """Where packages come from is the machine's configuration, for Docker as for us."""
    prefixes = ("PIP_", "SSL_", "HTTP", "http", "NO_PROXY", "no_proxy")
    return {name: value for name, value in os.environ.items() if name.startswith(prefixes)}
