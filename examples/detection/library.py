"""The library: a folder with texts, what was found in them, and the links from there to other texts."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

from examples.detection.records import from_dict, to_dict

RESOURCE_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,99}")


class LibraryError(Exception):
    """What the library cannot do, and whether it may be able to later."""

    code: ClassVar[str]
    retryable: ClassVar[bool] = False


class LibraryUnavailableError(LibraryError):
    """Its folder is not there, as when a share is not mounted, or cannot be read or written."""

    code = "LIBRARY_UNAVAILABLE"
    retryable = True


class ResourceNotFoundError(LibraryError):
    """There is no such text, and no later attempt will find one."""

    code = "RESOURCE_NOT_FOUND"


class SourceNotDetectedError(LibraryError):
    """Nothing was sought in the text yet; the detection may be on its way."""

    code = "SOURCE_NOT_DETECTED"
    retryable = True


class ReferenceNotFoundError(LibraryError):
    """The text was worked on, and it has no such annotation."""

    code = "REFERENCE_NOT_FOUND"


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """One entity in one place of a text: `text[start:end]`, counted in code points."""

    id: str
    """`RESOURCE:START-END`: the same find has the same id, however often it is made."""
    resource_id: str
    entity_type: str
    name: str
    """What the entity is called, however the text spells it."""
    text: str
    start: int
    end: int
    found_by: str
    """`gazetteer`, or the rule's name."""


class Library:
    """Texts, annotations and links. A file appears whole or not at all; writing the same again changes nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def of_environment(cls) -> Library:
        """The one that LIBRARY names."""
        return cls(Path(os.environ.get("LIBRARY", "library")))

    def read(self, resource_id: str) -> str:
        """A text; its first line is its title."""
        path = self._resource(resource_id)
        with self._asked():
            if path.is_file():
                return path.read_text(encoding="utf-8")
        raise ResourceNotFoundError(f"the library has no resource {resource_id!r}")

    def add(self, resource_id: str, text: str) -> None:
        """Puts a text into the library, in place of one of that id."""
        self._write(self._resource(resource_id), text)

    def annotate(self, resource_id: str, entity_type: str, annotations: Iterable[Annotation]) -> None:
        """Writes all annotations of one entity type, a line of JSON each, in place of earlier ones."""
        lines = [json.dumps(to_dict(annotation), ensure_ascii=False) + "\n" for annotation in annotations]
        self._write(self._annotations(resource_id) / f"{entity_type}.jsonl", "".join(lines))

    def annotations(self, resource_id: str) -> list[Annotation]:
        """What was found in a text, in its order; raises SourceNotDetectedError where nothing was sought."""
        with self._asked():
            files = sorted(self._annotations(resource_id).glob("*.jsonl"))
            # Not splitlines: a line of JSON may have ends of lines in it that only Unicode knows.
            lines = [line for file in files for line in file.read_text(encoding="utf-8").split("\n") if line]
        if not files:
            raise SourceNotDetectedError(f"nothing was sought in {resource_id!r} yet: submit a detection")
        return sorted((from_dict(Annotation, json.loads(line)) for line in lines), key=lambda found: found.start)

    def link(self, annotation: Annotation, resource_id: str) -> None:
        """Links an annotation to the text that tells of it, in place of an earlier link."""
        link = {"reference_id": annotation.id, "resource_id": resource_id}
        self._write(self._link(annotation), json.dumps(link) + "\n")

    def linked(self, annotation: Annotation) -> str | None:
        """The id of the text that an annotation is linked to."""
        with self._asked():
            path = self._link(annotation)
            link: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        return link.get("resource_id")

    def _resource(self, resource_id: str) -> Path:
        return self.folder / "resources" / f"{_checked(resource_id)}.txt"

    def _annotations(self, resource_id: str) -> Path:
        return self.folder / "annotations" / _checked(resource_id)

    def _link(self, annotation: Annotation) -> Path:
        return self.folder / "links" / annotation.resource_id / f"{annotation.start}-{annotation.end}.json"

    def _write(self, path: Path, text: str) -> None:
        """Each writer has a partial file of its own; what a killed one leaves is never read."""
        with self._asked():
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f".{path.name}.{uuid4().hex}.part")
            with partial.open("w", encoding="utf-8", newline="\n") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)

    @contextmanager
    def _asked(self) -> Iterator[None]:
        # The folder itself is never made: a share that is not mounted would be filled beneath its mount point.
        if not self.folder.is_dir():
            raise LibraryUnavailableError(f"there is no library at {str(self.folder)!r}")
        try:
            yield
        except OSError as error:
            raise LibraryUnavailableError(f"the library at {str(self.folder)!r}: {error}") from error


def _checked(resource_id: str) -> str:
    """An id is part of a file's name, so that it may not be any text."""
    if not RESOURCE_ID.fullmatch(resource_id):
        raise ResourceNotFoundError(f"{resource_id!r} is no id of a resource: lower case, digits and hyphens")
    return resource_id
