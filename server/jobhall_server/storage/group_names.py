"""What a commit group does to names: namespaces, job types, queues."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from jobhall_server.hall.views import JobTypeView
from jobhall_server.storage import schema, statements_names
from jobhall_server.storage.loaded import Loaded


class Names(Loaded):
    """The part of a group that knows namespaces, job types and queues."""

    def namespace_key(self, name: str) -> int:
        return self._known_namespace(name) or self._new_name(self._staged.namespaces, name, schema.COUNTER_NAMESPACE)

    def job_type_key(self, namespace_key: int, name: str) -> tuple[int, bool]:
        staged = self._staged
        key = staged.job_types.get((namespace_key, name))
        known = None if key is None else staged.types[key]
        if key is None:
            found = self._rows(statements_names.job_type_key, namespace_key=namespace_key, name=name)
            if found:
                [[key, retired]] = found
                known = self._loaded_type(namespace_key, name) if retired else None
                if known is None:
                    return key, False
        if known is not None and not known.retired:
            return known.key, False
        now = self.now
        if known is None:
            key = self._next_key(schema.COUNTER_JOB_TYPE)
            known = JobTypeView(key, self._namespace(namespace_key), name, now, updated_at=now, auto=True)
            staged.put(staged.new_types, key, namespace_key)
        else:
            known = replace(
                known, retired=False, auto=True, updated_at=now, revision=known.revision + 1, **_AS_OF_A_HELLO
            )
        staged.put(staged.job_types, (namespace_key, name), known.key)
        self.save_job_type(known)
        return known.key, True

    def has_job_type(self, namespace: str, name: str) -> bool:
        known = self.job_type(namespace, name)
        return known is not None and not known.retired

    def job_type(self, namespace: str, name: str) -> JobTypeView | None:
        within = self._known_namespace(namespace)
        if within is None:
            return None
        staged = self._staged
        key = staged.job_types.get((within, name))
        if key is not None:
            return staged.types[key]
        found = self._loaded_type(within, name)
        return None if found is None else staged.types.get(found.key, found)

    def save_job_type(self, job_type: JobTypeView) -> None:
        assert not self._saved
        self._staged.put(self._staged.types, job_type.key, job_type)

    def jobs_waiting(self, job_type_key: int) -> int:
        statement = statements_names.jobs_waiting(self._execution.tables)
        return self._execution.scalar(statement, job_type_key=job_type_key) or 0

    def queue_key(self, namespace_key: int, job_type_key: int) -> int:
        pair = (namespace_key, job_type_key)
        key = self._staged.queues.get(pair)
        if key is None:
            statement = statements_names.queue_key(self._execution.tables)
            key = self._execution.scalar(statement, namespace_key=namespace_key, job_type_key=job_type_key)
        return key or self._new_name(self._staged.queues, pair, schema.COUNTER_QUEUE)
