"""Who calls, and what a caller may do with a job: the rules that use cases ask and access clauses spell out in SQL."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import lru_cache

from jobhall.states import Visibility

ADMIN_ROLE = "admin"


@dataclass(frozen=True, slots=True)
class Principal:
    """The authenticated caller of one RPC. `subject` becomes the owner of what it creates."""

    subject: str
    organization_id: str = ""
    name: str = ""
    roles: frozenset[str] = field(default_factory=frozenset)

    @property
    def admin(self) -> bool:
        """Whether every job of every namespace is theirs to see and change."""
        return ADMIN_ROLE in self.roles

    @property
    def display_name(self) -> str:
        """What `created_by` and `cancelled_by` show."""
        return self.name or self.subject


ANYBODY = Principal("anonymous", name="anonymous", roles=frozenset({ADMIN_ROLE}))
"""Every caller of a server without authentication."""


def may_touch(principal: Principal, *, owner: str, organization_id: str) -> bool:
    """Whether the job exists for this caller at all: an admin, its owner, or a member of its organisation."""
    if principal.admin or principal.subject == owner:
        return True
    return bool(organization_id) and principal.organization_id == organization_id


def unique_scope(*, owner: str, organization_id: str) -> str:
    """Within what a unique key holds, beside its queue: the organisation, else the owner, whatever their names."""
    return f"o:{organization_id}" if organization_id else f"u:{owner}"


@dataclass(frozen=True, slots=True)
class AccessRules:
    """Who may do what with a job or batch besides its owner; subjects in each list."""

    visibility: Visibility = Visibility.PRIVATE
    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    admin: tuple[str, ...] = ()

    def text(self) -> str | None:
        """As it is stored; None where it is PRIVATE without lists."""
        if self == PRIVATE:
            return None
        return json.dumps([int(self.visibility), self.read, self.write, self.admin], separators=(",", ":"))


PRIVATE = AccessRules()
"""Those of a job that says nothing."""


@lru_cache(maxsize=256)
def access_of(text: str | None) -> AccessRules:
    """The rules that `AccessRules.text` wrote."""
    if text is None:
        return PRIVATE
    visibility, *lists = json.loads(text)
    return AccessRules(Visibility(visibility), *map(tuple, lists))
