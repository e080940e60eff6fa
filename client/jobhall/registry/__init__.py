"""JobManager and TaskStream: classes as job types, and a loop of the program's own that runs their tasks."""

from jobhall.registry.class_schema import ParametersError, schema_of
from jobhall.registry.job_registry import JobManager
from jobhall.registry.task_stream import StreamTask, TaskStream

__all__ = ["JobManager", "ParametersError", "StreamTask", "TaskStream", "schema_of"]
