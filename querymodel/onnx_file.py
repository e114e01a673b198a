"""What an ONNX file may hold, judged by its bytes before any of it is executed.

The file is a stranger's program. Its messages are read with the `onnx` package, which knows every field in which a
tensor may stand; all of them are walked, however deep (attributes, sub-graphs of loops, sparse tensors). It runs in a
build's child only: parsing is bounded by the file's size, and a crash ends that child.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import onnx
from google.protobuf.message import DecodeError, Message

from querymodel.errors import ModelRefused, library_words, shown_name
from querymodel.limits import MODEL_BYTES_MAX, NODES_MAX, PARTS_MAX

# ai.onnx is what an empty domain means.
DOMAINS = ("", "ai.onnx", "ai.onnx.ml")
# Tensors pack at most so many values in a byte (of two bits).
VALUES_A_BYTE_MAX = 4

_EXTERNAL = onnx.TensorProto.EXTERNAL


class ModelFile(NamedTuple):
    """What is told of a file that may be loaded."""

    nodes: int
    tensor_bytes: int
    producer: str
    opset: int


def check_file(payload: bytes, name: str) -> ModelFile:
    """Raises ModelRefused for a file that must not be loaded; `name` is what the messages call it.

    Reasons: drop.model_too_large, drop.model_unreadable, drop.model_unsafe.
    """
    if len(payload) > MODEL_BYTES_MAX:
        raise ModelRefused(
            "drop.model_too_large", f"{name} has {len(payload)} bytes; at most {MODEL_BYTES_MAX} may be."
        )
    model = _parse(payload, name)
    found = _walk(model, name)
    try:
        # Of the bytes and not of what was parsed, so that nothing is written out once more.
        onnx.checker.check_model(payload)
    except Exception as error:
        raise _unreadable(name, library_words(error)) from error
    return found


def _parse(payload: bytes, name: str) -> onnx.ModelProto:
    try:
        model = onnx.ModelProto.FromString(payload)
    except DecodeError as error:
        raise _unreadable(name, "it is no ONNX model, or is cut short") from error
    # Almost any bytes can be read as a message that says nothing.
    if not model.HasField("graph") or not model.graph.node:
        raise _unreadable(name, "it holds no graph with nodes")
    return model


def _walk(model: onnx.ModelProto, name: str) -> ModelFile:
    """Looks at every message of the model."""
    if model.functions:
        raise _unsafe(name, "holds functions of its own; export it with functions inlined")
    nodes = tensor_bytes = 0
    for message in _messages(model, name):
        if isinstance(message, onnx.TensorProto):
            _check_tensor(message, name)
            tensor_bytes += message.ByteSize()
        elif isinstance(message, onnx.NodeProto):
            nodes += 1
            _check_node(message, name)
    if nodes > NODES_MAX:
        raise ModelRefused("drop.model_too_large", f"{name} has {nodes} nodes; at most {NODES_MAX} may be.")
    opset = max((each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), default=0)
    return ModelFile(nodes, tensor_bytes, shown_name(model.producer_name), opset)


def _messages(model: onnx.ModelProto, name: str) -> Iterator[Message]:
    """The model and every message in it. What is inside a tensor is not looked into: it may be large."""
    waiting: list[Any] = [model]
    seen = 0
    while waiting:
        message = waiting.pop()
        yield message
        seen += 1
        if seen > PARTS_MAX:
            raise ModelRefused("drop.model_too_large", f"{name} has more than {PARTS_MAX} parts.")
        if isinstance(message, onnx.TensorProto):
            continue
        for field in message.DESCRIPTOR.fields:
            if field.message_type is None:
                continue
            if field.is_repeated:
                waiting.extend(getattr(message, field.name))
            elif message.HasField(field.name):
                waiting.append(getattr(message, field.name))


def _check_tensor(tensor: onnx.TensorProto, name: str) -> None:
    if tensor.data_location == _EXTERNAL or tensor.external_data:
        message = f"keeps the tensor {shown_name(tensor.name)} in another file; save the model with its data inside"
        raise _unsafe(name, message)
    values = 1
    for size in tensor.dims:
        if size < 0:
            raise _unreadable(name, f"the tensor {shown_name(tensor.name)} has a negative size")
        values *= size
    if values > VALUES_A_BYTE_MAX * tensor.ByteSize():
        message = f"the tensor {shown_name(tensor.name)} says that it has {values} values, and has not"
        raise _unreadable(name, message)


def _check_node(node: onnx.NodeProto, name: str) -> None:
    if node.domain not in DOMAINS:
        allowed = "ai.onnx and ai.onnx.ml"
        message = f"uses {shown_name(node.op_type)} of {shown_name(node.domain)}; operators of {allowed} are allowed"
        raise _unsafe(name, message)


def _unsafe(name: str, what: str) -> ModelRefused:
    return ModelRefused("drop.model_unsafe", f"{name} {what}.")


def _unreadable(name: str, what: str) -> ModelRefused:
    return ModelRefused("drop.model_unreadable", f"{name} cannot be read as a model: {what}.")
