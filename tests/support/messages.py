"""Arbitrary messages of any type, for fuzzing: every field, deep and odd, now and then with a plausible value."""

from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

DEPTH_MAX = 4
PLAUSIBLE_ID = "0190a0b0-0000-7000-8000-000000000000"
PLAUSIBLE = [
    "",
    "default",
    "-",
    "@global",
    "score",
    "public:score",
    PLAUSIBLE_ID,
    "{}",
    "[1, 2.5, null]",
    "state = PENDING",
    "labels.a = b",
    "create_time desc",
    "\x00",
]
_INTEGERS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
    FieldDescriptor.CPPTYPE_ENUM: (-(2**31), 2**31 - 1),
}


def messages(kind: type[Message]) -> st.SearchStrategy[Any]:
    """Messages of this class."""
    return _of(kind.DESCRIPTOR, DEPTH_MAX).map(lambda fields: _build(kind, fields))


def _of(descriptor: Any, depth: int) -> st.SearchStrategy[dict[str, Any]]:
    fields = {field.name: _field(field, depth) for field in descriptor.fields if depth or field.message_type is None}
    if not fields:
        return st.just({})
    chosen = st.lists(st.sampled_from(sorted(fields)), max_size=5, unique=True)
    return chosen.flatmap(lambda names: st.fixed_dictionaries({name: fields[name] for name in names}))


def _field(field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        entry = field.message_type.fields_by_name
        return st.dictionaries(_single(entry["key"], depth - 1), _single(entry["value"], depth - 1), max_size=3)
    value = _single(field, depth)
    return st.lists(value, max_size=3) if field.is_repeated else value


def _single(field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    if field.message_type is not None:
        kind = GetMessageClass(field.message_type)
        return st.deferred(lambda: _of(field.message_type, max(0, depth - 1))).map(lambda fields: _build(kind, fields))
    if field.cpp_type in _INTEGERS:
        low, high = _INTEGERS[field.cpp_type]
        return st.integers(0, 12) | st.integers(low, high)
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return st.booleans()
    if field.cpp_type in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
        return st.floats(width=32)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return st.binary(max_size=40)
    return st.sampled_from(PLAUSIBLE) | st.text(max_size=40)


def _build(kind: type[Message], fields: dict[str, Any]) -> Message:
    message = kind()
    for name, value in fields.items():
        field = kind.DESCRIPTOR.fields_by_name[name]
        if isinstance(value, dict):
            for key, item in value.items():
                if isinstance(item, Message):
                    getattr(message, name)[key].CopyFrom(item)
                else:
                    getattr(message, name)[key] = item
        elif field.is_repeated:
            getattr(message, name).extend(value)
        elif isinstance(value, Message):
            getattr(message, name).CopyFrom(value)
        else:
            setattr(message, name, value)
    return message
