"""The inventory of the five documents: what is left out, made up or shown by no test is found."""

from typing import Any

import pytest

from scripts import seed_names
from scripts.seeds import Entry, Seed, compared, faults_of, page

DOCUMENT = """\
# Jobs

## Ticket

| Field | Type |
|-------|------|
| `ticket_id` | `str` |

### Values

- `OPEN` - waits

```typescript
interface Paper {
  size: {
    width: number
  }
  colour?: string
}
```

```python
class Printer(Base):
    \"\"\"Not a name: ghost.\"\"\"
    speed: int = 1  # nor is this comment
    def start(self) -> None: ...

printer.start("draft", "two words", f"{printer.speed} pages")
```

GET /v1/papers/{paper_id}?wait=1 reads one

1. **Waste Nothing**: paper is dear
"""
FIELDS = {"Ticket.ticket_id", "Ticket.OPEN", "Paper.size", "Paper.size.width", "Paper.colour"}
FIELDS |= {"Printer.speed", "Printer.start"}
OTHERS = {"printer", "draft", "GET /v1/papers/{paper_id}", "Waste Nothing"}
ASIDE = frozenset({"interface", "number", "string", "class", "Base", "int", "def", "self", "str", "None"})
HERE = "unit/test_seed_inventory.py::test_an_inventory_that_is_whole_has_no_faults"


def seed(names: set[str], *, ours: str = "`jobhall.Job.id`", test: str = HERE, aside: frozenset[str] = ASIDE) -> Seed:
    entries = tuple(Entry("fields", name, ours, test) for name in sorted(names))
    return Seed("seed", "none.txt", "From paper", "About paper.", entries, aside)


def test_the_fields_of_tables_lists_interfaces_and_classes_are_read_with_their_owners() -> None:
    assert seed_names.fields(DOCUMENT) == FIELDS


def test_an_inventory_that_is_whole_has_no_faults() -> None:
    whole = seed(FIELDS | OTHERS)

    assert list(compared(whole, DOCUMENT)) == []
    assert list(faults_of(whole)) == []


@pytest.mark.parametrize("name", sorted(FIELDS | OTHERS))
def test_a_name_that_is_left_out_is_missed(name: str) -> None:
    faults = list(compared(seed((FIELDS | OTHERS) - {name}), DOCUMENT))

    assert any(name in fault for fault in faults), faults


def test_what_the_document_does_not_have_is_found_listed_or_set_aside() -> None:
    faults = list(compared(seed(FIELDS | OTHERS | {"Paper.weight"}, aside=ASIDE | {"ghost"}), DOCUMENT))

    assert len(faults) == 2
    assert "'ghost' is set aside" in faults[0]
    assert "'Paper.weight' is listed" in faults[1]


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"test": "unit/test_seed_inventory.py::test_nothing"}, "there is no test unit/test_seed_inventory.py::"),
        ({"test": "unit/test_nowhere.py::test_nothing"}, "there is no test unit/test_nowhere.py::"),
        ({"ours": "`jobhall.Job.ghost`"}, "there is no jobhall.Job.ghost"),
        ({"ours": "`jobhall.ghosts.Job`"}, "there is no jobhall.ghosts.Job"),
        ({"ours": "`Job.ghost`"}, "there is no Job.ghost"),
        ({"ours": "gone: `client.jobs.ghost(job)`"}, "there is no client.jobs.ghost"),
        ({"ours": "`client.ghosts.get_job`"}, "there is no client.ghosts.get_job"),
    ],
)
def test_a_test_or_a_name_of_ours_that_is_not_there_is_found(wrong: dict[str, Any], complaint: str) -> None:
    faults = list(faults_of(seed({"Ticket.OPEN"}, **wrong)))

    assert len(faults) == 1
    assert complaint in faults[0]


@pytest.mark.parametrize("ours", ["`Job.response`", "`client.jobs.get_job(…)`", "`jobhall.queue.QueueJob.type`"])
def test_a_name_of_ours_may_be_written_as_a_program_writes_it(ours: str) -> None:
    assert list(faults_of(seed({"Ticket.OPEN"}, ours=ours))) == []


def test_the_page_has_a_row_for_each_name_and_for_each_state() -> None:
    written = page([seed(FIELDS)])

    assert "| `Paper.size.width` | `jobhall.Job.id` |" in written
    assert "| CLAIMED | processing | processing | claimed | running | PROCESSING |" in written
    assert "| FAILED otherwise | error | failed | failed | failed | FAILED |" in written
