"""The contract with KEDA: the proto file says what the wire needs, and the generated code says what the proto file says."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto, FileDescriptorSet

import halfstep_scaler
from halfstep_scaler.proto import externalscaler_pb2 as generated

SOURCE = "halfstep_scaler/proto/externalscaler.proto"
STRING, BOOL, INT64, DOUBLE = (
    FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BOOL, FieldDescriptor.TYPE_INT64, FieldDescriptor.TYPE_DOUBLE,
)  # fmt: skip
SCALARS = {
    "ScaledObjectRef": {"name": (1, STRING), "namespace": (2, STRING)},
    "IsActiveResponse": {"result": (1, BOOL)},
    "MetricSpec": {"metricName": (1, STRING), "targetSize": (2, INT64), "targetSizeFloat": (3, DOUBLE)},
    "GetMetricsRequest": {"metricName": (2, STRING)},
    "MetricValue": {"metricName": (1, STRING), "metricValue": (2, INT64), "metricValueFloat": (3, DOUBLE)},
    "GetMetricSpecResponse": {},
    "GetMetricsResponse": {},
}
MESSAGES = {
    ("GetMetricSpecResponse", "metricSpecs"): (1, "MetricSpec"),
    ("GetMetricsResponse", "metricValues"): (1, "MetricValue"),
    ("GetMetricsRequest", "scaledObjectRef"): (1, "ScaledObjectRef"),
    ("ScaledObjectRef", "scalerMetadata"): (3, "ScalerMetadataEntry"),
}
CALLS = {
    "IsActive": ("ScaledObjectRef", "IsActiveResponse", False),
    "StreamIsActive": ("ScaledObjectRef", "IsActiveResponse", True),
    "GetMetricSpec": ("ScaledObjectRef", "GetMetricSpecResponse", False),
    "GetMetrics": ("GetMetricsRequest", "GetMetricsResponse", False),
    "StreamMetricSpec": ("ScaledObjectRef", "GetMetricSpecResponse", True),
}


def test_the_generated_code_is_that_of_the_proto_file(tmp_path: Path) -> None:
    """Compared by its descriptor, so that any version of the generator will do. Make it anew: proto/generate."""
    protoc = pytest.importorskip("grpc_tools.protoc", reason="grpcio-tools is for developers")
    root = Path(halfstep_scaler.__file__).parents[1]
    said = protoc.main(["protoc", f"-I{root}", f"--descriptor_set_out={tmp_path / 'set'}", str(root / SOURCE)])
    assert said == 0
    (expected,) = FileDescriptorSet.FromString((tmp_path / "set").read_bytes()).file
    checked_in = FileDescriptorProto()
    generated.DESCRIPTOR.CopyToProto(checked_in)
    _forget_json_names(expected.message_type)
    assert checked_in == expected


def test_fields_have_the_names_numbers_and_types_that_keda_sends() -> None:
    messages = generated.DESCRIPTOR.message_types_by_name
    assert set(messages) == set(SCALARS)
    for name, fields in SCALARS.items():
        scalars = [field for field in messages[name].fields if field.type != FieldDescriptor.TYPE_MESSAGE]
        assert {field.name: (field.number, field.type) for field in scalars} == fields
    for (name, field), (number, kind) in MESSAGES.items():
        found = messages[name].fields_by_name[field]
        assert (found.number, found.message_type.name) == (number, kind)


def test_calls_have_the_paths_that_keda_calls() -> None:
    service = generated.DESCRIPTOR.services_by_name["ExternalScaler"]
    assert service.full_name == "externalscaler.ExternalScaler"
    found = {m.name: (m.input_type.name, m.output_type.name, m.server_streaming) for m in service.methods}
    assert found == CALLS


def test_a_reference_as_keda_writes_it_is_read() -> None:
    # name "workers", namespace "shop", one entry of the map; by hand from the encoding's rules.
    wire = b"\x0a\x07workers\x12\x04shop\x1a\x0b\x0a\x06queues\x12\x01*"
    ref = generated.ScaledObjectRef.FromString(wire)
    assert (ref.name, ref.namespace, dict(ref.scalerMetadata)) == ("workers", "shop", {"queues": "*"})


def _forget_json_names(messages: Iterable[DescriptorProto]) -> None:
    """protoc fills them in, generated code leaves them out; they follow from the names."""
    for message in messages:
        for field in message.field:
            field.ClearField("json_name")
        _forget_json_names(message.nested_type)
