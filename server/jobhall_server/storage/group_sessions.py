"""What a commit group does to sessions."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from jobhall_server.domain.session import NewSession, SessionRecord, SessionState
from jobhall_server.hall.store import Want
from jobhall_server.storage import schema_groups, statements_sessions
from jobhall_server.storage.dialect import keys
from jobhall_server.storage.loaded import Loaded
from jobhall_server.storage.read_clauses import listed

_STATE = statements_sessions.SESSION.index("state")


class Sessions(Loaded):
    """The part of a group that knows sessions."""

    def session(self, key: int) -> SessionRecord | None:
        moved = self._staged.sessions.get(key)
        return self._sessions.get(key) if moved is None else moved

    def session_by_id(self, session_id: str) -> SessionRecord | None:
        key = self._staged.session_keys.get(session_id) or self._session_keys.get(session_id)
        return None if key is None else self.session(key)

    def open_session(self, new: NewSession) -> SessionRecord:
        assert not self._saved
        key = self._numbers.next_key(schema_groups.LAST_SESSION)
        unary = new.ttl_us is not None
        session = SessionRecord(
            key=key,
            session_id=new.session_id,
            resume_digest=new.resume_digest,
            state=SessionState.DETACHED if unary else SessionState.ATTACHED,
            epoch=1,
            replica_key=new.replica_key,
            connection=new.connection,
            ttl_us=new.ttl_us,
            detached_at=self.now if unary else None,
            ended_at=None,
            drain_at=None,
        )
        self._staged.put(self._staged.new_sessions, key, new)
        self._staged.put(self._staged.session_keys, new.session_id, key)
        self._staged.put(self._staged.sessions, key, session)
        return session

    def save_session(self, session: SessionRecord, hello: NewSession | None = None) -> None:
        assert not self._saved
        staged = self._staged
        staged.put(staged.sessions, session.key, session)
        if hello is not None:
            staged.put(staged.new_sessions if session.key in staged.new_sessions else staged.hellos, session.key, hello)

    def exclude(self, job_key: int, session_key: int) -> None:
        self._staged.put(self._staged.exclusions, (job_key, session_key), None)

    def _load_sessions(self, session_keys: Collection[int], session_ids: Collection[str]) -> None:
        tables = self._execution.tables
        if session_keys:
            by_key = statements_sessions.sessions_by_key(tables)
            self._take_sessions(self._execution.rows(by_key, keys=keys(session_keys)))
        if session_ids:
            by_id = statements_sessions.sessions_by_id(tables)
            self._take_sessions(self._execution.rows(by_id, session_ids=listed(session_ids)))

    def _take_sessions(self, rows: list[list[Any]]) -> None:
        for row in rows:
            row[_STATE] = SessionState(row[_STATE])
            session = self._sessions[row[0]] = SessionRecord(*row)
            self._session_keys[session.session_id] = session.key

    def _may_claim(self, want: Want) -> bool:
        session = self.session(want.session_key)
        if session is None or session.epoch != want.epoch or session.drain_at is not None:
            return False
        return session.state is SessionState.ATTACHED or (session.unary and session.state is SessionState.DETACHED)
