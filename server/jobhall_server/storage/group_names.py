"""What a commit group does to names: namespaces, job types, queues."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from jobhall_server.hall.views import JobTypeView
from jobhall_server.storage import schema_groups, statements_names
from jobhall_server.storage.loaded import Loaded


class Names(Loaded):
    """The part of a group that knows namespaces, job types and queues."""

    def namespace_key(self, name: str) -> int:
        key = self._namespace_key(name)
        if key is None:
            assert not self._saved
            key = self._numbers.next_key(schema_groups.LAST_NAMESPACE)
            self._staged.put(self._staged.namespaces, name, key)
        return key

    def job_type_key(self, namespace_key: int, name: str) -> tuple[int, bool]:
        staged, now = self._staged, self.now
        known = self._job_type(namespace_key, name)
        if known is not None and not known.retired:
            return known.key, False
        assert not self._saved
        if known is None:
            key = self._numbers.next_key(schema_groups.LAST_JOB_TYPE)
            new = JobTypeView(key, "", name, now, updated_at=now, auto=True)
            staged.put(staged.new_types, key, None)
        else:
            nothing: dict[str, Any] = {"parameters_schema": None, "result_schema": None, "defaults": None}
            if known.parameters_schema is not None or known.result_schema is not None:
                # Its old jobs keep those of their version.
                nothing["version"] = known.version + 1
            told = {"description": "", "updated_at": now, "revision": known.revision + 1, **nothing}
            new = replace(known, retired=False, auto=True, paused=False, **told)
        staged.put(staged.job_types, (namespace_key, name), new)
        return new.key, True

    def has_job_type(self, namespace: str, name: str) -> bool:
        known = self.job_type(namespace, name)
        return known is not None and not known.retired

    def job_type(self, namespace: str, name: str) -> JobTypeView | None:
        within = self._namespace_key(namespace)
        known = None if within is None else self._job_type(within, name)
        return None if known is None else replace(known, namespace=namespace)

    def save_job_type(self, job_type: JobTypeView) -> None:
        assert not self._saved
        place = (self.namespace_key(job_type.namespace), job_type.name)
        self._staged.put(self._staged.job_types, place, job_type)

    def jobs_waiting(self, job_type_key: int) -> int:
        waiting: int | None = self._execution.scalar(
            statements_names.jobs_waiting(self._execution.tables), job_type_key=job_type_key
        )
        return waiting or 0

    def queue_key(self, namespace_key: int, job_type_key: int) -> int:
        pair = (namespace_key, job_type_key)
        key = self._staged.queues.get(pair)
        if key is None:
            statement = statements_names.queue_key(self._execution.tables)
            key = self._execution.scalar(statement, namespace_key=namespace_key, job_type_key=job_type_key)
        if key is None:
            assert not self._saved
            key = self._numbers.next_key(schema_groups.LAST_QUEUE)
            self._staged.put(self._staged.queues, pair, key)
        return key

    def _namespace_key(self, name: str) -> int | None:
        key = self._staged.namespaces.get(name)
        if key is None:
            key = self._execution.scalar(statements_names.namespace_key(self._execution.tables), name=name)
        return key

    def _job_type(self, namespace_key: int, name: str) -> JobTypeView | None:
        staged = self._staged.job_types.get((namespace_key, name))
        if staged is not None:
            return staged
        statement = statements_names.job_type(self._execution.tables)
        found = self._execution.rows(statement, namespace_key=namespace_key, name=name)
        return job_type_of(found[0]) if found else None


def job_type_of(row: list[Any]) -> JobTypeView:
    """The type in a row of `statements_names.job_type`."""
    return JobTypeView(*row[:_FLAGS], *map(bool, row[_FLAGS:]))


_FLAGS = -3
"""Where `paused`, `auto` and `retired` begin."""
