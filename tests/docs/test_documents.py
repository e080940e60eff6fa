"""Every code block of the README and of docs/ runs, in order, as a reader would type it."""

from pathlib import Path

import pytest

from tests.support.documents import RUNNABLE, Block, Reader, blocks_of
from tests.support.tools import available, needed_tool

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PROGRAMS_OF_OTHERS = ("grpcurl", "jq", "node", "npm")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_every_block_that_could_run_says_whether_it_does(document: Path) -> None:
    silent = [
        block.line for block in blocks_of(document.read_text()) if block.language in RUNNABLE and not block.directive
    ]

    assert not silent, f"{document.name}: no `<!-- test: … -->` before the blocks at these lines (see CONTRIBUTING.md)"


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_every_block_works(document: Path, tmp_path: Path) -> None:
    missing: list[str] = []
    with Reader(folder=tmp_path) as reader:
        for block in blocks_of(document.read_text()):
            lacking = [name for name in programs_of_others(block) if not available(name)]
            missing += lacking
            if block.directive and not lacking:
                reader.follow(block)

    for name in missing:
        needed_tool(name)


def programs_of_others(block: Block) -> list[str]:
    return (
        [name for name in PROGRAMS_OF_OTHERS if name in block.text.split()] if block.directive[:1] != ("skip",) else []
    )
