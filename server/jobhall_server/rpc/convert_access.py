"""Who may do what with a job or batch, pb2 ↔ domain."""

from __future__ import annotations

from collections.abc import Iterable

from jobhall.errors import FieldInvalidError
from jobhall.limits import ACCESS_SUBJECTS_MAX, SUBJECT_BYTES_MAX
from jobhall.states import Visibility
from jobhall.v1 import job_pb2
from jobhall_server.domain.access import AccessRules, access_of
from jobhall_server.hall import checks


def access_in(message: job_pb2.AccessControl, field: str) -> str | None:
    """The rules as they are stored, None for PRIVATE without lists; FieldInvalidError."""
    try:
        visibility = Visibility(message.visibility) or Visibility.PRIVATE
    except ValueError:
        raise FieldInvalidError(f"{field}.visibility", f"{message.visibility} is no visibility") from None
    return AccessRules(
        visibility,
        _subjects(message.read_access, f"{field}.read_access"),
        _subjects(message.write_access, f"{field}.write_access"),
        _subjects(message.admin_access, f"{field}.admin_access"),
    ).text()


def access_out(text: str | None) -> job_pb2.AccessControl:
    """The message, its visibility spelled out."""
    rules = access_of(text)
    return job_pb2.AccessControl(
        visibility=int(rules.visibility),  # type: ignore[arg-type]  # equal numbers, proven by a test
        read_access=rules.read,
        write_access=rules.write,
        admin_access=rules.admin,
    )


def _subjects(names: Iterable[str], field: str) -> tuple[str, ...]:
    subjects = tuple(dict.fromkeys(names))
    checks.check_count(len(subjects), ACCESS_SUBJECTS_MAX, field)
    for place, subject in enumerate(subjects):
        if not subject:
            raise FieldInvalidError(f"{field}[{place}]", "is empty; name a subject")
        checks.check_text(subject, SUBJECT_BYTES_MAX, f"{field}[{place}]")
    return subjects
