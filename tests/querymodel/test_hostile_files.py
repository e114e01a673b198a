"""Files that call themselves a query model: each is refused by its bytes, before anything of it is loaded."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
import pytest
from google.protobuf.internal import encoder
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from querymodel import limits
from querymodel.errors import ModelRefused
from querymodel.onnx_file import check_file
from tests.support.query_models import FLOAT, Tower, model, node, tensor

NAME = "query_model.onnx"
SOUND = Tower.of(1).onnx()


def parsed() -> onnx.ModelProto:
    return onnx.ModelProto.FromString(SOUND)


def outside(tensor_: onnx.TensorProto, location: str = "weights.bin") -> None:
    tensor_.data_location = TensorProto.EXTERNAL
    tensor_.ClearField("raw_data")
    tensor_.external_data.add(key="location", value=location)


def in_an_initializer() -> onnx.ModelProto:
    made = parsed()
    outside(made.graph.initializer[0])
    return made


def with_a_path_out_of_the_folder() -> onnx.ModelProto:
    made = parsed()
    outside(made.graph.initializer[0], "../../../etc/passwd")
    return made


def said_without_a_location() -> onnx.ModelProto:
    """Only one of the two marks."""
    made = parsed()
    made.graph.initializer[0].external_data.add(key="location", value="weights.bin")
    return made


def in_an_attribute() -> onnx.ModelProto:
    made = parsed()
    constant = numpy_helper.from_array(np.ones(4, np.float32), "hidden")
    outside(constant)
    made.graph.node.append(helper.make_node("Constant", [], ["hidden"], value=constant))
    return made


def in_a_list_of_an_attribute() -> onnx.ModelProto:
    made = parsed()
    constant = numpy_helper.from_array(np.ones(4, np.float32), "hidden")
    outside(constant)
    made.graph.node[0].attribute.append(helper.make_attribute("many", [constant]))
    return made


def in_a_sub_graph() -> onnx.ModelProto:
    made = parsed()
    weights = numpy_helper.from_array(np.ones(4, np.float32), "hidden")
    outside(weights)
    branch = helper.make_graph(
        [node("Identity", ["hidden"], "out")], "branch", [], [tensor("out", FLOAT, [4])], [weights]
    )
    inner = helper.make_graph(
        [helper.make_node("If", ["yes"], ["out"], then_branch=branch, else_branch=branch)],
        "outer",
        [],
        [tensor("out", FLOAT, [4])],
    )
    made.graph.node.append(helper.make_node("If", ["yes"], ["unused"], then_branch=inner, else_branch=inner))
    return made


def in_a_sparse_tensor() -> onnx.ModelProto:
    made = parsed()
    sparse = made.graph.sparse_initializer.add()
    sparse.values.CopyFrom(numpy_helper.from_array(np.ones(1, np.float32), "sparse"))
    sparse.indices.CopyFrom(numpy_helper.from_array(np.zeros(1, np.int64), "places"))
    sparse.dims.append(4)
    outside(sparse.indices)
    return made


def with_a_function() -> onnx.ModelProto:
    made = parsed()
    made.functions.append(
        helper.make_function(
            "mine", "Twice", ["x"], ["y"], [node("Add", ["x", "x"], "y")], [helper.make_opsetid("", 17)]
        )
    )
    return made


def with_a_custom_operator() -> onnx.ModelProto:
    made = parsed()
    made.graph.node.append(helper.make_node("Shell", ["age"], ["unused"], domain="com.evil"))
    return made


def with_a_custom_operator_in_a_loop() -> onnx.ModelProto:
    made = parsed()
    body = helper.make_graph(
        [helper.make_node("Shell", ["x"], ["y"], domain="ai.onnx.preview.training")],
        "body",
        [],
        [tensor("y", FLOAT, [1])],
    )
    made.graph.node.append(helper.make_node("Loop", ["", "", ""], ["unused"], body=body))
    return made


@pytest.mark.parametrize(
    "make",
    [
        in_an_initializer,
        with_a_path_out_of_the_folder,
        said_without_a_location,
        in_an_attribute,
        in_a_list_of_an_attribute,
        in_a_sub_graph,
        in_a_sparse_tensor,
    ],
)
def test_data_in_other_files_is_refused_wherever_it_is_named(make: Callable[[], onnx.ModelProto]) -> None:
    with pytest.raises(ModelRefused) as refused:
        check_file(make().SerializeToString(), NAME)
    assert refused.value.reason == "drop.model_unsafe"
    assert "another file" in refused.value.message


@pytest.mark.parametrize("make", [with_a_function, with_a_custom_operator, with_a_custom_operator_in_a_loop])
def test_only_the_standard_s_operators_are_let_in(make: Callable[[], onnx.ModelProto]) -> None:
    with pytest.raises(ModelRefused) as refused:
        check_file(make().SerializeToString(), NAME)
    assert refused.value.reason == "drop.model_unsafe"


def test_a_hard_link_to_data_beside_the_model_is_data_in_another_file(tmp_path: Path) -> None:
    """It would lie inside the model's folder, where no check of paths finds it."""
    secret = tmp_path / "secret"
    secret.write_bytes(np.ones(400, np.float32).tobytes())
    (tmp_path / "drop").mkdir()
    os.link(secret, tmp_path / "drop" / "weights.bin")
    with pytest.raises(ModelRefused, match="another file"):
        check_file(in_an_initializer().SerializeToString(), NAME)


@pytest.mark.parametrize("shape", [[10**9], [2**31, 2**31, 2**31], [2**62, 4]])
def test_a_tensor_that_says_that_it_is_huge_is_refused(shape: list[int]) -> None:
    made = parsed()
    del made.graph.initializer[0].dims[:]
    made.graph.initializer[0].dims.extend(shape)
    with pytest.raises(ModelRefused) as refused:
        check_file(made.SerializeToString(), NAME)
    assert refused.value.reason == "drop.model_unreadable"
    assert "and has not" in refused.value.message


def test_a_tensor_of_negative_size_is_refused() -> None:
    made = parsed()
    made.graph.initializer[0].dims[0] = -1
    with pytest.raises(ModelRefused, match="negative size"):
        check_file(made.SerializeToString(), NAME)


@pytest.mark.parametrize(
    "payload",
    [b"", b"\x00", b"PK\x03\x04" + b"x" * 100, b"\x0a\xff\xff\xff\xff\x7f", SOUND[:-10], SOUND[: len(SOUND) // 2]],
)
def test_what_is_no_model_is_refused(payload: bytes) -> None:
    with pytest.raises(ModelRefused) as refused:
        check_file(payload, NAME)
    assert refused.value.reason == "drop.model_unreadable"


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.integers(0, len(SOUND) - 1), st.integers(0, 255)), min_size=1, max_size=20))
def test_a_damaged_model_is_refused_or_sound_and_nothing_else(changes: list[tuple[int, int]]) -> None:
    damaged = bytearray(SOUND)
    for place, value in changes:
        damaged[place] = value
    # Whatever else it raised would fail the test.
    with suppress(ModelRefused):
        check_file(bytes(damaged), NAME)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_are_refused_and_nothing_else_happens(payload: bytes) -> None:
    with pytest.raises(ModelRefused):
        check_file(payload, NAME)


def test_the_file_and_its_parts_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, reason in (("MODEL_BYTES_MAX", 100), ("NODES_MAX", 3), ("PARTS_MAX", 5)):
        with monkeypatch.context() as patch:
            patch.setattr(f"querymodel.onnx_file.{name}", reason)
            with pytest.raises(ModelRefused) as refused:
                check_file(SOUND, NAME)
            assert refused.value.reason == "drop.model_too_large"
    assert limits.MODEL_BYTES_MAX == 1 << 30


def test_a_graph_nested_deeper_than_messages_may_be_is_no_crash() -> None:
    """Written by hand: a graph in an attribute of a node of a graph, a thousand times."""

    def field(number: int, inside: bytes) -> bytes:
        return encoder.TagBytes(number, 2) + encoder._VarintBytes(len(inside)) + inside

    graph = b""
    for _ in range(1_000):
        graph = field(1, field(5, field(6, graph)))
    with pytest.raises(ModelRefused) as refused:
        check_file(field(7, graph), NAME)
    assert refused.value.reason == "drop.model_unreadable"


def test_a_sound_model_is_told_of() -> None:
    found = check_file(SOUND, NAME)
    assert (found.nodes, found.opset) == (14, 17)
    assert found.tensor_bytes > 50 * 8 * 4


def test_operators_for_machine_learning_are_let_in() -> None:
    encode = helper.make_node(
        "LabelEncoder", ["x"], ["y"], domain="ai.onnx.ml", keys_strings=["a"], values_floats=[1.0], default_float=0.0
    )
    graph = helper.make_graph([encode], "words", [tensor("x", TensorProto.STRING, ["B"])], [tensor("y", FLOAT, ["B"])])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    made = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    assert check_file(made.SerializeToString(), NAME).nodes == 1


def test_a_model_of_one_operator_is_a_model() -> None:
    payload = model([node("Identity", ["x"], "y")], [tensor("x", FLOAT, ["B", 4])], [tensor("y", FLOAT, ["B", 4])])
    assert check_file(payload, NAME).nodes == 1
