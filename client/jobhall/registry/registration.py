"""A class whose instances are jobs: under which name, with which schema, and how an instance runs."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jobhall.limits import JOB_TYPE_PREFIX_GLOBAL, JOB_TYPE_PREFIX_OWN, NAMESPACE_GLOBAL
from jobhall.registry.class_schema import ParametersError, build
from jobhall.task import Task, TaskFailed
from jobhall.worker.held import bare_name


@dataclass(frozen=True, slots=True)
class Registration:
    """One of the classes of a JobManager."""

    job_class: type[Any]
    name: str
    """`name` or `category:name`."""
    public: bool
    """Whether it is every namespace's, and stands in `@global`."""

    @property
    def job_type(self) -> str:
        """As submits and Hellos name it, so that none of the same name elsewhere is meant."""
        return f"{JOB_TYPE_PREFIX_GLOBAL if self.public else JOB_TYPE_PREFIX_OWN}{self.name}"

    def perform(self, task: Task, context: object) -> Any:
        """Makes the instance of the task's parameters and runs it; an awaitable where its `run` is async.

        Parameters that make none fail the task for good: another attempt would have the same.
        """
        try:
            instance = build(self.job_class, task.parameters)
        except ParametersError as error:
            details = {"violations": [{"field": it.field, "description": it.description} for it in error.violations]}
            raise TaskFailed(str(error), code="SCHEMA_MISMATCH", retryable=False, details=details) from None
        run: Callable[..., Any] = instance.run
        return run(context, task=task) if _takes_task(run) else run(context)


def split_name(name: str, *, category: str = "", public: bool = False) -> tuple[str, bool]:
    """The bare name, and whether it is public: a prefix says so too, as a category may stand in the name."""
    bare = bare_name(name)
    if public and name.startswith(JOB_TYPE_PREFIX_OWN):
        raise ValueError(f"{name!r} is private by its name, and public=True says that it is not")
    if category and ":" in bare:
        raise ValueError(f"{name!r} has a category already, besides {category!r}")
    return f"{category}:{bare}" if category else bare, public or name.startswith(JOB_TYPE_PREFIX_GLOBAL)


def check_class(job_class: object) -> type[Any]:
    """The class; TypeError where it could not be run."""
    if not isinstance(job_class, type):
        raise TypeError(f"{job_class!r} is no class: what is registered is a class with a method run(context)")
    if not callable(getattr(job_class, "run", None)):
        raise TypeError(f"{job_class.__name__} has no method run(context): nothing could be done for a task")
    return job_class


def description_of(job_class: type[Any]) -> str:
    """What its docstring says, but for the one that a dataclass without gets."""
    text = vars(job_class).get("__doc__") or ""
    return "" if text.startswith(f"{job_class.__name__}(") else inspect.cleandoc(text)


def home_of(public: bool, namespace: str) -> str:
    """The namespace in which such a type is registered."""
    return NAMESPACE_GLOBAL if public else namespace


def _takes_task(run: Callable[..., Any]) -> bool:
    parameters = inspect.signature(run).parameters.get("task")
    return parameters is not None and parameters.kind is not inspect.Parameter.POSITIONAL_ONLY
