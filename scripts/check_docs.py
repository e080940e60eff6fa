"""Checks every Markdown file of the project: its links lead somewhere, its addresses are those that readers need."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("docs", "protos", "client", "server", "tests", "examples", "bench")
LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)(?:\s+\"[^\"]*\")?\)")
ADDRESS = re.compile(r"https?://(?P<host>[^/:\s)>`\"']+)")
CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.MULTILINE | re.DOTALL)
# Sources that are cited, and this machine. A package registry is none of them: where packages come from is the
# reader's own configuration.
HOSTS = {
    "127.0.0.1",
    "aip.dev",
    "doi.org",
    "docs.python.org",
    "en.wikipedia.org",
    "example.com",
    "github.com",
    "google.aip.dev",
    "grpc.io",
    "keepachangelog.com",
    "localhost",
    "peps.python.org",
    "protobuf.dev",
    "semver.org",
    "sqlite.org",
    "www.apache.org",
    "www.postgresql.org",
    "www.rfc-editor.org",
    "www.sqlite.org",
}


def main() -> None:
    documents = list(markdown_files())
    problems = [f"{path.relative_to(ROOT)}: {problem}" for path in documents for problem in problems_of(path)]
    print(*problems, sep="\n", end="\n" if problems else "")
    if problems:
        sys.exit(1)
    print(f"docs: {len(documents)} files, every link leads somewhere")


def markdown_files() -> Iterator[Path]:
    yield from sorted(ROOT.glob("*.md"))
    for folder in FOLDERS:
        yield from (path for path in sorted((ROOT / folder).rglob("*.md")) if "node_modules" not in path.parts)


def problems_of(path: Path) -> Iterator[str]:
    text = path.read_text()
    for match in ADDRESS.finditer(text):
        if match["host"] not in HOSTS:
            yield f"an address of {match['host']}, which is none of the hosts in scripts/check_docs.py"
    for match in LINK.finditer(CODE.sub("", text)):
        if problem := problem_of_link(path, match["target"]):
            yield problem


def problem_of_link(path: Path, target: str) -> str | None:
    if "://" in target or target.startswith("mailto:"):
        return None
    name, _, anchor = target.partition("#")
    file = (path.parent / name).resolve() if name else path
    if not file.exists() or not file.is_relative_to(ROOT):
        return f"the link to {target} leads nowhere"
    if anchor and file.suffix == ".md" and anchor not in anchors_of(file):
        return f"{file.name} has no heading for {target}"
    return None


def anchors_of(path: Path) -> set[str]:
    """The anchors that GitHub makes: lower case, spaces as hyphens, everything else but letters and digits gone."""
    headings = re.findall(
        r"^#+\s+(.+?)\s*#*$", CODE.sub(lambda code: code[0].strip("`"), path.read_text()), re.MULTILINE
    )
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


if __name__ == "__main__":
    main()
