"""The client as a package of its own: what it pulls in, which stubs it brings, and that its README tells the truth."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recallpb.v1 import recall_pb2
from tests.client.scripted import serving

CLIENT = Path(__file__).resolve().parents[2] / "clients" / "python"
README = (CLIENT / "README.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def test_it_needs_grpcio_protobuf_and_numpy_and_nothing_else() -> None:
    needed = importlib.metadata.requires("recall-client") or []
    assert sorted(re.split(r"[<>=!~ ;\[]", one)[0] for one in needed) == ["grpcio", "numpy", "protobuf"]


def test_it_imports_nothing_else_and_works_with_the_stubs_that_it_brings() -> None:
    program = """
        import sys
        sys.path[:0] = [{client!r}, {stubs!r}]
        import grpc, grpc.aio, numpy, google.protobuf.descriptor_pool, google.protobuf.message_factory
        before = set(sys.modules)
        import recall_client, recallpb.v1.recall_pb2 as stubs
        from recall_client.requests import recall_request

        brought = {{name.partition(".")[0] for name in set(sys.modules) - before}} - set(sys.stdlib_module_names)
        assert brought <= {{"grpc", "google", "numpy", "recall_client", "recallpb"}}, brought
        assert stubs.__file__.startswith({stubs!r}), stubs.__file__
        request = recall_request("films/similar", recall_client.ItemQuery({{1: 0.5}}), 10, filter="year > 1")
        assert stubs.RecallRequest.FromString(request.SerializeToString()).items.items[0].weight == 0.5
        recall_client.Client("127.0.0.1:1", "rk_x").close()
    """
    program = textwrap.dedent(program).format(client=str(CLIENT), stubs=str(CLIENT / "pb"))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def answers(request: Any, context: Any) -> Any:
    """A gateway that has something to say to every example."""
    if isinstance(request, recall_pb2.BatchRecallRequest):
        results = [recall_pb2.BatchRecallResult(response=answers(each, context)) for each in request.requests[1:]]
        error = recall_pb2.RecallError(code=3, reason="DIMENSION_MISMATCH", message="no", field="vectors.vectors[0]")
        return recall_pb2.BatchRecallResponse(results=[recall_pb2.BatchRecallResult(error=error), *results])
    if isinstance(request, recall_pb2.GetItemsRequest):
        missing = recall_pb2.ItemIds(ids=request.items.ids[1:])
        return recall_pb2.GetItemsResponse(version=7, ids=request.items.ids[:1], missing=missing)
    if isinstance(request, recall_pb2.CountItemsRequest):
        return recall_pb2.CountItemsResponse(version=7, items=10, searchable_items=9)
    if isinstance(request, recall_pb2.GetServiceInfoRequest):
        return recall_pb2.GetServiceInfoResponse(live=recall_pb2.VersionInfo(version=7, model_version="tower-7"))
    return _answer(request)


def _answer(request: recall_pb2.RecallRequest) -> recall_pb2.RecallResponse:
    genre = recall_pb2.AttributeColumn(name="genre", strings=recall_pb2.StringList(values=["noir", "western"]))
    response = recall_pb2.RecallResponse(version=7, ids=[3, 1], scores=[0.5, 0.25], model_version="tower-7")
    if request.return_attributes:
        response.attributes.append(genre)
    if request.return_vectors:
        response.vectors.extend([recall_pb2.Vector(packed=np.ones(4, "<f4").tobytes())] * 2)
    if request.trace:
        response.timings.total_us = 900
    if request.WhichOneof("query") == "items":
        response.coverage.used.ids.append(request.items.items[0].id)
    return response


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_the_examples_of_the_readme_run(example: str) -> None:
    with serving(answers) as gateway:
        program = re.sub(r'"[\w.-]+:50051"', f'"{gateway.address}"', example)
        assert gateway.address in program, "each example makes its own client"
        exec(compile(program, "README.md", "exec"), {"__name__": "__main__"})  # noqa: S102  (our own README)
        assert gateway.requests


def test_the_readme_shows_every_kind_of_query() -> None:
    shown = "\n".join(EXAMPLES)
    for name in ("ItemQuery", "FeatureQuery", "Query(", "batch_recall", "get_items", "AsyncClient", "model_version"):
        assert name in shown
