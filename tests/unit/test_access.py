"""For whom a job exists: an admin, its owner, and members of its organisation."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobhall_server.domain.access import ANYBODY, Principal, may_touch

ADA = Principal("ada", "acme")


@pytest.mark.parametrize(
    ("caller", "exists"),
    [
        (ADA, True),
        (Principal("ada"), True),
        (Principal("bob", "acme"), True),
        (Principal("root", roles=frozenset({"admin"})), True),
        (ANYBODY, True),
        (Principal("bob", "other"), False),
        (Principal("bob"), False),
        (Principal("bob", roles=frozenset({"user", "worker", "org_admin"})), False),
    ],
    ids=["owner", "owner elsewhere", "colleague", "admin", "without authentication", "stranger", "nobody's", "roles"],
)
def test_a_job_of_an_organisation_exists_for(caller: Principal, exists: bool) -> None:
    assert may_touch(caller, owner="ada", organization_id="acme") is exists


def test_no_organisation_is_nobodys_organisation() -> None:
    """Two callers without one are strangers, not colleagues."""
    assert not may_touch(Principal("bob"), owner="ada", organization_id="")


NAMES = st.sampled_from(("", "ada", "bob"))


@given(NAMES, NAMES, NAMES, NAMES)
def test_a_stranger_never_sees_a_job(subject: str, organization: str, owner: str, owners_organization: str) -> None:
    seen = may_touch(Principal(subject, organization), owner=owner, organization_id=owners_organization)

    assert seen == (subject == owner or (organization == owners_organization != ""))


def test_a_caller_is_shown_by_name_and_without_one_by_subject() -> None:
    assert [Principal("ada", name="Ada L.").display_name, Principal("ada").display_name] == ["Ada L.", "ada"]
