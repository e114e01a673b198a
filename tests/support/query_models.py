"""Small query models for tests, made with onnx, and what they give by plain numpy.

`Tower` is a user tower as recommenders have one: the mean of the embeddings of a history without its padding, and an
age, through one matrix.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64

Matrix = NDArray[np.float32]


@dataclass(frozen=True)
class Tower:
    """`table` [n, e] embeds the numbers of a history, `weights` [e + 1, vectors x dimension] makes vectors of it."""

    table: Matrix
    weights: Matrix
    vectors: int = 1
    length: int = 5
    batch: int | str = "B"
    one_column: bool = False
    changes: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, seed: int, *, dimension: int = 16, vectors: int = 1, values: int = 50, **options: Any) -> Tower:
        random = np.random.default_rng(seed)
        table = random.normal(size=(values, 8)).astype(np.float32)
        return cls(table, random.normal(size=(9, vectors * dimension)).astype(np.float32), vectors, **options)

    @property
    def dimension(self) -> int:
        return self.weights.shape[1] // self.vectors

    def schema(self, **changes: Any) -> dict[str, Any]:
        """The block `query_model` that fits it; `changes` are of the history's input."""
        history = {"name": "history", "type": "int64", "max_length": self.length, "length_input": "history_length"}
        inputs = [{**history, **changes}, {"name": "age", "type": "float32"}]
        return {"vectors": self.vectors, "inputs": inputs}

    def vectors_of(self, history: list[int], age: float) -> Matrix:
        """What it gives for one query, float32 [vectors, dimension]."""
        kept = history[-self.length :]
        mean = self.table[kept].sum(axis=0) / max(1, len(kept))
        row = np.concatenate([mean, [age]]).astype(np.float32) @ self.weights
        return row.reshape(self.vectors, self.dimension)

    def onnx(self) -> bytes:
        batch, length = self.batch, self.length
        scalar = [batch, 1] if self.one_column else [batch]
        inputs = [
            helper.make_tensor_value_info("history", INT64, [batch, length]),
            helper.make_tensor_value_info("history_length", INT64, scalar),
            helper.make_tensor_value_info("age", FLOAT, scalar),
        ]
        shape = [batch, self.dimension] if self.vectors == 1 else [batch, self.vectors, self.dimension]
        nodes = [
            node("Gather", ["table", "history"], "embedded"),
            node("Reshape", ["history_length", "column"], "lengths"),
            node("Less", ["positions", "lengths"], "mask"),
            node("Cast", ["mask"], "mask_floats", to=FLOAT),
            node("Unsqueeze", ["mask_floats", "last"], "mask_column"),
            node("Mul", ["embedded", "mask_column"], "masked"),
            node("ReduceSum", ["masked", "one"], "sum", keepdims=0),
            node("Cast", ["lengths"], "lengths_floats", to=FLOAT),
            node("Max", ["lengths_floats", "unit"], "divisor"),
            node("Div", ["sum", "divisor"], "mean"),
            node("Reshape", ["age", "column"], "age_column"),
            node("Concat", ["mean", "age_column"], "row", axis=1),
            node("MatMul", ["row", "weights"], "flat"),
            node("Reshape", ["flat", "shape"], "vectors"),
        ]
        constants = {
            "table": self.table,
            "weights": self.weights,
            "positions": np.arange(length, dtype=np.int64),
            "column": np.array([-1, 1], np.int64),
            "last": np.array([-1], np.int64),
            "one": np.array([1], np.int64),
            "unit": np.array([1.0], np.float32),
            "shape": np.array([-1, *shape[1:]], np.int64),
        }
        return model(nodes, inputs, [helper.make_tensor_value_info("vectors", FLOAT, shape)], constants)


def node(kind: str, inputs: list[str], output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs, [output], **attributes)


def tensor(name: str, kind: int, shape: list[Any]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def model(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    constants: dict[str, NDArray[Any]] | None = None,
    *,
    opset: int = OPSET,
) -> bytes:
    """A serialised model."""
    held = [numpy_helper.from_array(value, name) for name, value in (constants or {}).items()]
    graph = helper.make_graph(nodes, "tower", inputs, outputs, held)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    return bytes(made.SerializeToString())


def endless_loop(shape: list[Any], *, age: bool = True) -> bytes:
    """A model that never ends: a loop whose condition stays true, around one addition."""
    body = helper.make_graph(
        [
            node("Identity", ["going"], "still_going"),
            node("Add", ["state", "state"], "next_state"),
        ],
        "body",
        [
            tensor("turn", INT64, []),
            tensor("going", TensorProto.BOOL, []),
            tensor("state", FLOAT, None),
        ],
        [tensor("still_going", TensorProto.BOOL, []), tensor("next_state", FLOAT, None)],
    )
    nodes = [
        helper.make_node("Loop", ["", "yes", "age"], ["endless"], body=body),
        node("Reshape", ["endless", "column"], "narrow"),
        node("Expand", ["narrow", "shape"], "vectors"),
    ]
    constants = {
        "yes": np.array(True),
        "column": np.array([-1, 1], np.int64),
        "shape": np.array([1, *shape[1:]], np.int64),
    }
    return model(nodes, [tensor("age", FLOAT, ["B"])], [tensor("vectors", FLOAT, shape)], constants)
