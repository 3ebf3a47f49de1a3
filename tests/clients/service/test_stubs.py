"""The committed stubs are those of the committed protocol, and the protocol is documented."""

import importlib.resources
from pathlib import Path

from google.protobuf import descriptor_pb2
from grpc_tools import protoc

PROTO = Path("clients/service/device.proto")
ROOT = Path(__file__).resolve().parents[3]


def generate(*options):
    known = importlib.resources.files("grpc_tools") / "_proto"
    assert protoc.main(["protoc", f"-I{ROOT}", f"-I{known}", *options, str(PROTO)]) == 0


def test_the_stubs_are_what_make_proto_generates(tmp_path):
    generate(f"--python_out={tmp_path}", f"--pyi_out={tmp_path}", f"--grpc_python_out={tmp_path}")
    made = sorted(tmp_path.rglob("device_pb2*"))
    assert [path.name for path in made] == ["device_pb2.py", "device_pb2.pyi", "device_pb2_grpc.py"]
    for path in made:
        assert (ROOT / path.relative_to(tmp_path)).read_text() == path.read_text(), "run make proto"


def test_every_call_and_every_field_is_documented(tmp_path):
    generate("--include_source_info", f"--descriptor_set_out={tmp_path / 'set'}")
    file = descriptor_pb2.FileDescriptorSet.FromString((tmp_path / "set").read_bytes()).file[0]
    places = file.source_code_info.location
    documented = {tuple(place.path) for place in places if place.leading_comments or place.trailing_comments}
    calls = {f"{method.name}": (6, 0, 2, number) for number, method in enumerate(file.service[0].method)}
    fields = {
        f"{message.name}.{field.name}": (4, number, 2, position)
        for number, message in enumerate(file.message_type)
        for position, field in enumerate(message.field)
    }
    assert [name for name, place in {**calls, **fields}.items() if place not in documented] == []
