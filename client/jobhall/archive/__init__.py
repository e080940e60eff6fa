"""Jobs as files: one folder for each status, one JSON file for each job; what `jobhall export` writes.

archive = Archive(Path("jobs"))
for archived in archive.jobs():
    print(archived.job.id, archived.job.state.name, len(archived.log_entries))
"""

from jobhall.archive.files import ArchiveError
from jobhall.archive.layout import Archive, ArchivedJob

__all__ = ["Archive", "ArchiveError", "ArchivedJob"]
