"""The host's own login: its users and their sessions, in tables of its own."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import ForeignKey, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

SESSION_LENGTH = timedelta(hours=8)


class Base(DeclarativeBase):
    """The host's tables."""


class UserRow(Base):
    """One user; passwords are kept as scrypt hashes."""

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    team: Mapped[str]
    is_admin: Mapped[bool]
    salt: Mapped[bytes]
    password_hash: Mapped[bytes]


class SessionRow(Base):
    """One login; the token itself is only with the user."""

    __tablename__ = "sessions"

    token_hash: Mapped[bytes] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    expires_at: Mapped[datetime]


@dataclass(frozen=True, slots=True)
class User:
    """A user as the rest of the host sees it."""

    id: int
    name: str
    team: str
    is_admin: bool


class Users:
    """Signs users up, logs them in, and knows them again by their token."""

    def __init__(self, sessions: async_sessionmaker[AsyncSession]) -> None:
        self._sessions = sessions

    @classmethod
    @asynccontextmanager
    async def open(cls, database: str) -> AsyncIterator[Users]:
        """With the tables in that SQLite file, made where they are missing."""
        engine = create_async_engine(f"sqlite+aiosqlite:///{database}")
        try:
            async with engine.begin() as connection:
                await connection.run_sync(Base.metadata.create_all)
            yield cls(async_sessionmaker(engine, expire_on_commit=False))
        finally:
            await engine.dispose()

    async def sign_up(self, *, name: str, password: str, team: str) -> User | None:
        """A new user, the first of all an admin; None where the name is taken."""
        salt = secrets.token_bytes(16)
        async with self._sessions() as session:
            count = await session.scalar(select(func.count()).select_from(UserRow))
            row = UserRow(name=name, team=team, is_admin=not count, salt=salt, password_hash=_hash(password, salt))
            session.add(row)
            try:
                await session.commit()
            except IntegrityError:
                return None
            return _user(row)

    async def log_in(self, *, name: str, password: str) -> str | None:
        """A token for a session; None where name or password is wrong."""
        token = secrets.token_urlsafe(32)
        async with self._sessions() as session:
            row = await session.scalar(select(UserRow).where(UserRow.name == name))
            # A name that nobody has takes as long as a wrong password.
            expected = _hash(password, b"" if row is None else row.salt)
            if row is None or not secrets.compare_digest(expected, row.password_hash):
                return None
            expires_at = datetime.now(UTC) + SESSION_LENGTH
            session.add(SessionRow(token_hash=_digest(token), user_id=row.id, expires_at=expires_at))
            await session.commit()
        return token

    async def by_token(self, token: str) -> User | None:
        """Who has that session; None where nobody has, or not any more."""
        async with self._sessions() as session:
            live = SessionRow.expires_at > datetime.now(UTC)
            wanted = select(UserRow).join(SessionRow).where(SessionRow.token_hash == _digest(token), live)
            row = await session.scalar(wanted)
            return None if row is None else _user(row)


def _user(row: UserRow) -> User:
    return User(id=row.id, name=row.name, team=row.team, is_admin=row.is_admin)


def _hash(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=2**14, r=8, p=1)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
