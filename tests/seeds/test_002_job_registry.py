"""Seed 002, a job library: the first half of its client, a dict of classes, in the order of its own example."""

from collections.abc import MutableMapping
from dataclasses import dataclass

import pytest

from jobhall import AttemptOutcome, Client, JobManager, JobState
from jobhall.errors import JobTypeNotFoundError, JobTypeSchemaConflictError, SchemaMismatchError
from tests.support.library_scene import (
    SOON,
    Extension,
    Rotate,
    Scene,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]


# --- 1. the registry, a dict ---


def test_a_manager_is_a_dict_of_the_classes_that_it_has_registered(client: Client, vis: Scene, room: str) -> None:
    @vis.jobs.register
    class Turn(Rotate):
        pass

    assert isinstance(vis.jobs, MutableMapping)
    assert len(vis.jobs) == 1
    assert list(vis.jobs) == ["Turn"]
    assert vis.jobs["Turn"] is vis.jobs["private:Turn"] is Turn
    assert "Turn" in vis.jobs
    assert "public:Turn" not in vis.jobs
    assert vis.jobs.get("Missing") is None
    kind = client.types.get("Turn", namespace=room)
    assert kind.parameters_schema == {
        "type": "object",
        "properties": {"angle": {"type": "number"}, "axis": {"type": "string", "default": "z"}},
        "required": ["angle"],
        "additionalProperties": False,
    }


def test_a_public_class_is_registered_for_all_rooms(client: Client, vis: Scene, room: str) -> None:
    @vis.jobs.register(public=True, category=room)
    class Scale(Extension):
        """Makes it larger."""

    assert (list(vis.jobs), vis.jobs[f"public:{room}:Scale"]) == ([f"{room}:Scale"], Scale)
    kind = client.types.get(f"public:{room}:Scale", namespace="any-room")
    assert (kind.namespace, kind.description) == ("@global", "Makes it larger.")
    with pytest.raises(JobTypeNotFoundError):
        client.types.get(f"private:{room}:Scale", namespace=room)


def test_a_class_is_put_in_and_taken_out_as_in_a_dict(client: Client, vis: Scene, room: str) -> None:
    """What is taken out is not served any more; its type stays, and its jobs wait for others."""
    vis.jobs["modifiers:Turn"] = Rotate
    vis.jobs[f"public:modifiers:{room}"] = Rotate
    del vis.jobs["modifiers:Turn"]

    assert list(vis.jobs) == [f"modifiers:{room}"]
    with pytest.raises(KeyError):
        vis.jobs["modifiers:Turn"]
    assert client.types.get("modifiers:Turn", namespace=room).namespace == room
    assert client.types.get(f"modifiers:{room}", namespace=room).namespace == "@global"
    assert vis.jobs.submit("modifiers:Turn", {"angle": 1}).state is JobState.PENDING
    with pytest.raises(TypeError, match="no method run"):
        vis.jobs["Nothing"] = Scene


def test_a_class_that_is_registered_already_must_have_the_same_schema(client: Client, vis: Scene, room: str) -> None:
    vis.jobs.register(Rotate)
    vis.jobs.register(Rotate)
    with JobManager(client, namespace=room) as other:
        other.register(Rotate)

        @dataclass
        class Other(Extension):
            angle: str

        with pytest.raises(JobTypeSchemaConflictError) as caught:
            other.register(name="Rotate")(Other)

        assert caught.value.violations[0].field == "job_type.parameters_schema/properties/angle/type"
        assert 'properties/angle/type is "number", and is "string" now' in caught.value.message
        with pytest.raises(JobTypeNotFoundError, match="in namespace '@global'"):
            other.submit("public:Rotate", {"angle": 1})
        assert other["Rotate"] is Rotate
        other.register(name="Rotate", replace=True)(Other)
        assert other["Rotate"] is Other
    assert client.types.get("Rotate", namespace=room).version == 2


def test_a_schema_may_be_given_for_a_class_that_is_no_dataclass(vis: Scene) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}, "required": ["n"]}

    @vis.jobs.register(schema=schema)
    class Repeat:
        def __init__(self, n: int) -> None:
            self.n = n

        def run(self, vis: Scene) -> int:
            return self.n

    with pytest.raises(SchemaMismatchError):
        vis.jobs.submit(Repeat, {"n": 0})
    with pytest.raises(TypeError, match="no dataclass"):
        vis.jobs.submit(Repeat(3))
    task = vis.jobs.submit(Repeat, {"n": 3})
    with vis.jobs.listen() as tasks:
        assert next(tasks).run() is AttemptOutcome.COMPLETED
    assert vis.jobs.get_task(task.id, wait=SOON).result == 3


def test_a_job_is_submitted_by_an_instance_its_class_or_its_name(vis: Scene) -> None:
    vis.jobs.register(Rotate)

    by_instance = vis.jobs.submit(Rotate(90, axis="x"), priority=5)
    by_class = vis.jobs.submit(Rotate, {"angle": 45})
    by_name = vis.jobs.submit("private:Rotate", {"angle": 30})

    assert (by_instance.job_type, by_instance.parameters, by_instance.priority) == (
        "Rotate",
        {"angle": 90, "axis": "x"},
        5,
    )
    assert (by_class.parameters, by_name.parameters) == ({"angle": 45}, {"angle": 30})
    with pytest.raises(SchemaMismatchError):
        vis.jobs.submit(Rotate, {"angel": 90})
    with pytest.raises(LookupError, match="not registered"):
        vis.jobs.submit(Extension())
    with pytest.raises(TypeError, match="would be lost"):
        vis.jobs.submit(Rotate(1), {"angle": 2})


def test_a_class_without_fields_that_are_required_is_submitted_by_its_name_alone(vis: Scene) -> None:
    """By the class it always could; by its name its parameters were nothing, which is no object, and were refused."""

    @vis.jobs.register
    @dataclass
    class Reset(Extension):
        hard: bool = False

    assert vis.jobs.submit("Reset").parameters == vis.jobs.submit(Reset).parameters == {}
