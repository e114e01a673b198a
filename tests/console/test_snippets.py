"""A question in five languages: each is run, or read by what would run it, and asks for the same."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import numpy as np
import pytest
from django.urls import resolve
from google.protobuf import json_format
from typer.testing import CliRunner

from api.views.queries import ServiceRecallView
from cli.main import app
from console.snippets import Endpoint, Feature, Item, Question, request_of, snippets_of
from recallpb.v1 import recall_pb2
from tests.client.scripted import Scripted, serving
from versions.queries import gateway as control_plane

LONG = tuple(round(number / 7, 6) for number in range(-384, 384))
NASTY = """year >= 1990 and title != 'it''s $HOME `id` "quoted" \\u0041\\' \nEOF\n"""
QUESTIONS = {
    "vector": Question(vectors=((0.5, -1.25, 3.0, 1e-7),)),
    "negative vector": Question(vectors=((-0.5, -1.25),)),
    "long vector": Question(vectors=(LONG,), top_k=100, ef=200, exact=True),
    "several vectors": Question(vectors=((0.5, -1.0), (1.0, 1e-60)), merge="WEIGHTED_SUM", attributes=("year", "tag")),
    "several long vectors": Question(vectors=(LONG, LONG), merge="ROUND_ROBIN"),
    "items": Question(items=(Item(1_000_001), Item(7, -0.5), Item(2**62, 1e-7)), require_version=7, trace=True),
    "items again": Question(items=(Item(1, 2.0), Item(1, 0.5)), keep_query_items=True, filter=NASTY),
    "many items": Question(items=tuple(Item(number, 0.25) for number in range(100))),
    "text items": Question(items=(Item("B'00\"$1"), Item("a:2"), Item("é", 0.25))),
    "features": Question(
        features=(
            Feature("hist_item", "int64", (3, 2**62, 1), is_list=True),
            Feature("age", "float32", (31.0,)),
            Feature("city", "string", ('L\'Aquila \n"x" \\',)),
            Feature("is_new", "bool", (True,)),
            Feature("tags", "string", ("a",), is_list=True),
        ),
        filter="tag contains 'noir'",
    ),
    "long history": Question(features=(Feature("hist_item", "int64", tuple(range(60)), is_list=True),)),
    "no history": Question(features=(Feature("hist_item", "int64", (), is_list=True),)),
}
EMPTY_LISTS = Question(
    features=tuple(Feature(kind, kind, (), is_list=True) for kind in ("int64", "float32", "string", "bool"))
)
each_question = pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS)


def snippet(name: str, question: Question, gateway: str = "127.0.0.1:50051") -> str:
    endpoint = Endpoint("films", "movies", gateway, "https://recall.example.org/api/v1", has_text_ids(question))
    return {each.name: each.text for each in snippets_of(question, endpoint)}[name]


def has_text_ids(question: Question) -> bool:
    return any(isinstance(item.id, str) for item in question.items)


def wanted(question: Question) -> recall_pb2.RecallRequest:
    message = json_format.ParseDict(request_of(question), recall_pb2.RecallRequest())
    message.service = "tenants/films/services/movies"
    return plain(message)


def plain(request: recall_pb2.RecallRequest) -> recall_pb2.RecallRequest:
    """The request, whichever of several ways to write one thing it took."""
    said = recall_pb2.RecallRequest()
    said.CopyFrom(request)
    for vector in said.vectors.vectors:
        vector.packed = vector.packed or np.array(vector.values.values, "<f4").tobytes()
    for item in said.items.items:
        item.weight = item.weight if item.HasField("weight") else 1
    if not said.params.ByteSize():
        said.ClearField("params")
    if not said.exclude.ByteSize():
        said.ClearField("exclude")
    return said


def answering(question: Question) -> Callable[[Any, grpc.ServicerContext], Any]:
    """A service with such ids, whose answer is one item."""

    def answer(request: Any, _context: grpc.ServicerContext) -> Any:
        if isinstance(request, recall_pb2.GetServiceInfoRequest):
            schema = recall_pb2.Schema(id_type="string" if has_text_ids(question) else "int64")
            return recall_pb2.GetServiceInfoResponse(schema=schema)
        years = recall_pb2.AttributeColumn(name="year", ints=recall_pb2.Int64List(values=[1999]))
        columns = [years] if request.return_attributes else []
        return recall_pb2.RecallResponse(version=7, ids=[42], scores=[0.5], attributes=columns)

    return answer


def asked_of(gateway: Scripted) -> recall_pb2.RecallRequest:
    [request] = [each for each in gateway.requests if isinstance(each, recall_pb2.RecallRequest)]
    return plain(request)


def in_a_shell(text: str, program: str, folder: Path) -> tuple[list[str], str, str]:
    """What a shell gives to `program`: its arguments, its stdin, and the RECALL_GATEWAY that it sets."""
    stand_in = folder / program
    stand_in.write_text(
        f'#!/bin/bash\nprintf "%s\\0" "$@" > {folder}/arguments\n'
        f'printf "%s" "${{RECALL_GATEWAY:-}}" > {folder}/gateway\ncat > {folder}/stdin\n'
    )
    stand_in.chmod(0o700)
    environment = {"PATH": f"{folder}:/usr/bin:/bin", "RECALL_API_KEY": "rk_secret"}
    subprocess.run(["bash", "-euc", text], env=environment, check=True, timeout=10, stdin=subprocess.DEVNULL)
    arguments = (folder / "arguments").read_bytes().decode().split("\0")[:-1]
    return arguments, (folder / "stdin").read_text(), (folder / "gateway").read_text()


@each_question
def test_python_runs_and_asks_for_it(question: Question, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECALL_API_KEY", "rk_secret")
    said = io.StringIO()
    with serving(answering(question)) as gateway, contextlib.redirect_stdout(said):
        exec(compile(snippet("python", question, gateway.address), "snippet.py", "exec"), {})  # noqa: S102
    assert asked_of(gateway) == wanted(question)
    assert gateway.metadata[-1]["authorization"] == "Bearer rk_secret"
    assert said.getvalue() == "version 7\n42 0.5" + (" 1999\n" if question.attributes else "\n")


def test_python_says_of_which_kind_an_empty_list_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECALL_API_KEY", "rk_secret")
    with serving(answering(EMPTY_LISTS)) as gateway:
        exec(compile(snippet("python", EMPTY_LISTS, gateway.address), "snippet.py", "exec"), {})  # noqa: S102
    assert asked_of(gateway) == wanted(EMPTY_LISTS)


@each_question
def test_the_command_asks_for_it(question: Question, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(answering(question)) as gateway:
        arguments, stdin, address = in_a_shell(snippet("cli", question, gateway.address), "recall", tmp_path)
        monkeypatch.setenv("RECALL_GATEWAY", address)
        monkeypatch.setenv("RECALL_API_KEY", "rk_secret")
        ran = CliRunner().invoke(app, arguments, input=stdin, catch_exceptions=False)
    assert ran.exit_code == 0
    request = asked_of(gateway)
    request.trace = question.trace  # The command asks for it always, and shows it when it is asked for.
    assert request == wanted(question)
    assert ("--trace" in arguments) == question.trace


def test_an_id_that_no_command_can_hold_is_told(tmp_path: Path) -> None:
    text = snippet("cli", Question(items=(Item("a,b"),)))
    assert text.startswith("# ")
    assert "comma" in text


@each_question
def test_grpcurl_sends_it(question: Question, tmp_path: Path) -> None:
    arguments, stdin, _ = in_a_shell(snippet("grpcurl", question), "grpcurl", tmp_path)
    assert arguments == ["-plaintext", "-H", "authorization: Bearer rk_secret", "-d", "@", "127.0.0.1:50051",
                         "recallpb.v1.RecallService/Recall"]  # fmt: skip
    assert plain(json_format.Parse(stdin, recall_pb2.RecallRequest())) == wanted(question)


@each_question
def test_curl_posts_it_to_an_endpoint_that_takes_it(question: Question, tmp_path: Path) -> None:
    arguments, stdin, _ = in_a_shell(snippet("curl", question), "curl", tmp_path)
    assert "Authorization: Bearer rk_secret" in arguments
    [url] = [argument for argument in arguments if argument.startswith("https:")]
    found = resolve(urlsplit(url).path)
    assert found.func.view_class is ServiceRecallView
    assert found.kwargs == {"tenant": "films", "service": "movies"}
    long_form = control_plane._with_plain_vectors(json.loads(stdin))
    message = json_format.ParseDict(long_form, recall_pb2.RecallRequest(service="tenants/films/services/movies"))
    assert plain(message) == wanted(question)


def test_long_lists_are_broken_into_lines_that_can_be_read() -> None:
    for name in ("python", "java", "grpcurl", "cli", "curl"):
        for question in (QUESTIONS["long vector"], QUESTIONS["several long vectors"], QUESTIONS["long history"]):
            lines = snippet(name, question).splitlines()
            assert max(map(len, lines)) <= 110, name


PARSE = """
import com.sun.source.util.JavacTask;
import java.net.URI;
import java.util.List;
import javax.tools.*;

class Parse {
  public static void main(String[] files) throws Exception {
    JavaCompiler compiler = ToolProvider.getSystemJavaCompiler();
    DiagnosticCollector<JavaFileObject> found = new DiagnosticCollector<>();
    StandardJavaFileManager manager = compiler.getStandardFileManager(found, null, null);
    JavacTask task = (JavacTask) compiler.getTask(null, manager, found, null, null, manager.getJavaFileObjects(files));
    task.parse();
    found.getDiagnostics().forEach(System.out::println);
  }
}
"""


def test_java_can_be_parsed(tmp_path: Path) -> None:
    """All of them compile against grpc-java 1.68, which needs its jars and was tried by hand; here they are parsed."""
    if shutil.which("java") is None:
        pytest.skip("Java is missing. Remedy: sudo apt-get install -y default-jdk-headless")
    files = []
    for number, question in enumerate((*QUESTIONS.values(), EMPTY_LISTS)):
        file = tmp_path / str(number) / "Ask.java"
        file.parent.mkdir()
        file.write_text(snippet("java", question))
        files.append(str(file))
    (tmp_path / "Parse.java").write_text(PARSE)
    command = ["java", str(tmp_path / "Parse.java"), *files]
    assert subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout == ""
