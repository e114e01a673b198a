"""A query model of the size that recommenders serve: the user's half of a two-tower model, three layers wide.

The mean of the embeddings of a history, beside the user's profile, goes through 128 -> 256 -> 128 -> 64. What comes out
is added to the profile, so that its vectors lie where the profiles lie: made of clustered data, they are as near to
items as queries are.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from benchmarks.data import Float32
from querymodel.spec import Feature, Features

WIDTHS = (256, 128)
HISTORY_LENGTH, EMBEDDED_ITEMS = 50, 50_000
EMBEDDING_SCALE = 0.1
# Of the length of a profile, how far a vector is moved.
MOVED = 0.2
OPSET, IR_VERSION = 17, 9
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def schema(dimension: int) -> dict[str, Any]:
    """The block `query_model`."""
    history = {"name": "history", "type": "int64", "max_length": HISTORY_LENGTH, "length_input": "history_length"}
    return {"vectors": 1, "inputs": [{"name": "profile", "type": "float32", "max_length": dimension}, history]}


def features_of(profiles: Float32, seed: int) -> list[Features]:
    """Of each profile with a history of any length."""
    rng = np.random.default_rng(seed)
    return [
        {
            "profile": Feature("floats", profile.tolist()),
            "history": Feature("ints", rng.integers(0, EMBEDDED_ITEMS, rng.integers(1, HISTORY_LENGTH + 1)).tolist()),
        }
        for profile in profiles
    ]


def tensors_of(features: Features) -> dict[str, np.ndarray[Any, Any]]:
    """What the model is fed with for one user, as a caller without a platform would make it."""
    history = np.zeros((1, HISTORY_LENGTH), np.int64)
    values = features["history"].values
    history[0, : len(values)] = values
    return {
        "profile": np.array([features["profile"].values], np.float32),
        "history": history,
        "history_length": np.array([len(values)], np.int64),
    }


def onnx_bytes(dimension: int, seed: int) -> bytes:
    """The serialised model."""
    inputs = [
        helper.make_tensor_value_info("profile", FLOAT, ["B", dimension]),
        helper.make_tensor_value_info("history", INT64, ["B", HISTORY_LENGTH]),
        helper.make_tensor_value_info("history_length", INT64, ["B"]),
    ]
    outputs = [helper.make_tensor_value_info("vectors", FLOAT, ["B", dimension])]
    held = [numpy_helper.from_array(value, name) for name, value in _constants(dimension, seed).items()]
    nodes = [
        helper.make_node(kind, names.split(), [output], **attributes) for kind, names, output, attributes in _nodes()
    ]
    graph = helper.make_graph(nodes, "user_tower", inputs, outputs, held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    return bytes(model.SerializeToString())


def _nodes() -> list[tuple[str, str, str, dict[str, Any]]]:
    """Operator, inputs, output and attributes of each step."""
    layers: list[tuple[str, str, str, dict[str, Any]]] = []
    for number in range(len(WIDTHS) + 1):
        source = "row" if number == 0 else f"active{number - 1}"
        layers.append(("Gemm", f"{source} weights{number} bias{number}", f"layer{number}", {}))
        layers.append(("Relu", f"layer{number}", f"active{number}", {}))
    return [
        ("Gather", "table history", "embedded", {}),
        ("Unsqueeze", "history_length last", "lengths", {}),
        ("Less", "positions lengths", "mask", {}),
        ("Cast", "mask", "mask_floats", {"to": FLOAT}),
        ("Unsqueeze", "mask_floats last", "mask_column", {}),
        ("Mul", "embedded mask_column", "masked", {}),
        ("ReduceSum", "masked one", "sum", {"keepdims": 0}),
        ("Cast", "lengths", "lengths_floats", {"to": FLOAT}),
        ("Max", "lengths_floats unit", "divisor", {}),
        ("Div", "sum divisor", "mean", {}),
        ("Concat", "profile mean", "row", {"axis": 1}),
        *layers[:-1],
        ("Mul", f"layer{len(WIDTHS)} moved", "shift", {}),
        ("Add", "profile shift", "sum_of_both", {}),
        ("LpNormalization", "sum_of_both", "vectors", {"axis": -1, "p": 2}),
    ]


def _constants(dimension: int, seed: int) -> dict[str, np.ndarray[Any, Any]]:
    rng = np.random.default_rng(seed)
    widths = (2 * dimension, *WIDTHS, dimension)
    constants: dict[str, np.ndarray[Any, Any]] = {
        "table": EMBEDDING_SCALE * rng.standard_normal((EMBEDDED_ITEMS, dimension), dtype=np.float32),
        "positions": np.arange(HISTORY_LENGTH, dtype=np.int64),
        "last": np.array([-1], np.int64),
        "one": np.array([1], np.int64),
        "unit": np.array([1.0], np.float32),
        "moved": np.array([MOVED], np.float32),
    }
    for number, (wide, narrow) in enumerate(pairwise(widths)):
        scale = np.float32(np.sqrt(2 / wide))
        constants[f"weights{number}"] = scale * rng.standard_normal((wide, narrow), dtype=np.float32)
        constants[f"bias{number}"] = np.zeros(narrow, np.float32)
    return constants
