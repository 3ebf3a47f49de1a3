"""The page on the device's local service, from its .proto and the comments in it."""

from pathlib import Path

from google.protobuf import descriptor_pb2 as pb
from grpc_tools import protoc

from documents.tables import cell, generated, table

_PROTO = "clients/service/device.proto"
_INTRO = """\
The protocol of a device's local service, as it stands in [`device.proto`](../../clients/service/device.proto). How to
reach the service, what guards it and what its refusals mean is in [the device API](../device-api.md)."""

_MESSAGE, _ENUM, _SERVICE = 4, 5, 6
"""Numbers of a file's fields of these kinds, as ``descriptor.proto`` has them: paths of comments begin with them."""
_INNER = 2
"""The same of a message's fields, an enum's values and a service's calls."""

Comments = dict[tuple[int, ...], str]


def page(root: Path, folder: Path) -> str:
    """Return ``docs/reference/device-proto.md``; ``folder`` takes what the compiler writes."""
    file = _compiled(root, folder)
    said = {tuple(place.path): place.leading_comments for place in file.source_code_info.location}
    parts = [generated(f"Device protocol: {file.package}", _INTRO)]
    for number, service in enumerate(file.service):
        parts.append(f"## service {service.name}\n\n{_calls(service, (_SERVICE, number), said)}")
    for number, message in enumerate(file.message_type):
        parts.append(_message(message, (_MESSAGE, number), said))
    for number, enum in enumerate(file.enum_type):
        place = (_ENUM, number)
        rows = [
            (f"`{value.name}`", str(value.number), cell(said.get((*place, _INNER, i), "")))
            for i, value in enumerate(enum.value)
        ]
        parts.append(_titled(f"enum {enum.name}", said.get(place, ""), table(("value", "number", "meaning"), rows)))
    return "\n".join(parts)


def _compiled(root: Path, folder: Path) -> pb.FileDescriptorProto:
    found = folder / "device.binpb"
    options = ["protoc", f"-I{root}", "--include_source_info", f"--descriptor_set_out={found}", _PROTO]
    if protoc.main(options) != 0:
        raise ValueError(f"{_PROTO} does not compile: see above")
    (file,) = pb.FileDescriptorSet.FromString(found.read_bytes()).file
    return file


def _calls(service: pb.ServiceDescriptorProto, place: tuple[int, ...], said: Comments) -> str:
    rows = []
    for i, call in enumerate(service.method):
        takes = _linked(call.input_type, "message")
        answers = ("stream of " if call.server_streaming else "") + _linked(call.output_type, "message")
        rows.append((f"`{call.name}`", takes, answers, cell(said.get((*place, _INNER, i), ""))))
    return table(("call", "takes", "answers", "does"), rows)


def _message(message: pb.DescriptorProto, place: tuple[int, ...], said: Comments) -> str:
    rows = [
        (f"`{field.name}`", str(field.number), _kind(field), cell(said.get((*place, _INNER, i), "")))
        for i, field in enumerate(message.field)
    ]
    body = table(("field", "number", "holds", "meaning"), rows) if rows else "No fields.\n"
    return _titled(f"message {message.name}", said.get(place, ""), body)


def _titled(head: str, comment: str, body: str) -> str:
    return "\n\n".join(part for part in (f"## {head}", " ".join(comment.split()), body) if part)


def _kind(field: pb.FieldDescriptorProto) -> str:
    of = "enum" if field.type == pb.FieldDescriptorProto.TYPE_ENUM else "message"
    name = _linked(field.type_name, of) if field.type_name else f"`{_type_name(field.type)}`"
    if field.label == pb.FieldDescriptorProto.LABEL_REPEATED:
        return f"repeated {name}"
    return f"optional {name}" if field.proto3_optional else name


def _type_name(number: int) -> str:
    return pb.FieldDescriptorProto.Type.Name(number).removeprefix("TYPE_").lower()  # type: ignore[arg-type]


def _linked(type_name: str, kind: str) -> str:
    name = type_name.rsplit(".", 1)[-1]
    return f"[{name}](#{kind}-{name.lower()})"
