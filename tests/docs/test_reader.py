"""The reader of documents itself: what it runs, what it refuses, and that it leaves nothing running."""

from pathlib import Path

import pytest

from tests.support.documents import Reader, blocks_of

DOCUMENT = """
Text.

<!-- test: file hello.py -->
```python
print("port 50051")
```

<!-- test: run -->
```bash
NAME=world
python hello.py && echo "hello $NAME"
```

<!-- test: output -->
```text
port …
hello world
```

<!-- test: start until "ready" -->
```bash
echo ready; exec sleep 100
```

<!-- test: run until "tick" -->
```console
$ echo "tick $NAME"; exec sleep 100
what it prints
```

```json
{}
```
"""


def test_a_document_runs_in_order_and_leaves_nothing_running(tmp_path: Path) -> None:
    with Reader(folder=tmp_path) as reader:
        for block in blocks_of(DOCUMENT):
            if block.directive:
                reader.follow(block)
        [(_, started)] = reader.running
        assert started.poll() is None
        assert reader.output == "tick world\n"

    assert started.poll() is not None


@pytest.mark.parametrize(
    ("block", "complaint"),
    [
        ("<!-- test: run -->\n```bash\nexit 3\n```", "line 2: exit code 3"),
        ("<!-- test: run -->\n```python\nraise SystemExit(4)\n```", "line 2: exit code 4"),
        ("<!-- test: output -->\n```\nother\n```", "line 2: expected"),
        ('<!-- test: start until "up" -->\n```bash\necho down\n```', "it ended without 'up'"),
        ("<!-- test: dance -->\n```bash\nls\n```", "what is"),
        ("<!-- test: skip -->\n```bash\nls\n```", "what is"),
    ],
)
def test_a_block_that_does_not_work_fails_with_its_line(block: str, complaint: str, tmp_path: Path) -> None:
    with Reader(folder=tmp_path) as reader, pytest.raises(AssertionError, match=complaint):
        reader.follow(*blocks_of(block))


def test_a_directive_belongs_to_the_block_right_after_it() -> None:
    blocks = blocks_of("<!-- test: run -->\n\ntext\n\n```bash\nls\n```\n")

    assert [block.directive for block in blocks] == [()]
