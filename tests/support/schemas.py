"""A database file with its schema, made once in a process and copied: to migrate each test's own takes 20 ms."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from jobhall_server.storage.engines import open_write_engine, parse_database_url
from jobhall_server.storage.migrations import migrate
from jobhall_server.storage.schema import PREFIX_DEFAULT


def lay_schema(path: Path, *, prefix: str = PREFIX_DEFAULT) -> None:
    """What the first start of a server on a new file does first; a file that is there stays as it is."""
    if not path.exists():
        path.write_bytes(_migrated(prefix))


@cache
def _migrated(prefix: str) -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "jobhall.db"
        migrate(open_write_engine(parse_database_url(f"sqlite:///{path}")), prefix=prefix)
        return path.read_bytes()
