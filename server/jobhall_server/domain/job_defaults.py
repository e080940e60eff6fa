"""What a job type says for the jobs whose submit does not say it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache

from jobhall_server.domain.rules import NO_RULES, Rules, rules_of


@dataclass(frozen=True, slots=True)
class JobDefaults:
    """Of one type; None, and 0 attempts, leave it to the server."""

    priority: int | None = None
    max_attempts: int = 0
    rules: Rules = NO_RULES
    retention_us: int | None = None

    def text(self) -> str | None:
        """As it is stored; None when it says nothing."""
        if self == NO_DEFAULTS:
            return None
        said = {
            "priority": self.priority,
            "max_attempts": self.max_attempts or None,
            "rules": self.rules.text(),
            "retention": self.retention_us,
        }
        return json.dumps({name: value for name, value in said.items() if value is not None}, separators=(",", ":"))


NO_DEFAULTS = JobDefaults()


@lru_cache(maxsize=1024)
def defaults_of(text: str | None) -> JobDefaults:
    """The defaults that `JobDefaults.text` wrote."""
    if text is None:
        return NO_DEFAULTS
    said = json.loads(text)
    return JobDefaults(
        said.get("priority"), said.get("max_attempts", 0), rules_of(said.get("rules")), said.get("retention")
    )
