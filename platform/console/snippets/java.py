"""A question by the stubs that protoc and its grpc-java plug-in make of our proto: one class that can be run."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator

from console.snippets.layout import filled
from console.snippets.question import KINDS, MERGE_DEFAULT, Endpoint, Item, Question, Value

DEADLINE_MS = 500
# How deep the arguments of a call stand that does not fit its line, and up to which length it does.
DEEP = 8
SHORT_CHARACTERS_MAX = 40

FRAME = """\
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.Metadata;
import io.grpc.stub.MetadataUtils;
import io.recall.v1.*;
import java.util.concurrent.TimeUnit;

public class Ask {{
  public static void main(String[] args) {{
    ManagedChannel channel = ManagedChannelBuilder.forTarget({gateway}).usePlaintext().build();
    Metadata headers = new Metadata();
    headers.put(
        Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER),
        "Bearer " + System.getenv("RECALL_API_KEY"));
    // One channel and one stub for the whole program.
    RecallServiceGrpc.RecallServiceBlockingStub recall =
        RecallServiceGrpc.newBlockingStub(channel)
            .withInterceptors(MetadataUtils.newAttachHeadersInterceptor(headers));

    RecallRequest.Builder request = RecallRequest.newBuilder();
    request.setService({service});
{lines}

    RecallResponse answer =
        recall.withDeadlineAfter({deadline_ms}, TimeUnit.MILLISECONDS).recall(request.build());
    System.out.println("version " + answer.getVersion());
    for (int rank = 0; rank < answer.getScoresCount(); rank++) {{
      System.out.println(answer.{ids}(rank) + " " + answer.getScores(rank));
    }}
    channel.shutdown();
  }}
{helpers}}}
"""
# Name of a function of the class -> the function, without which long lists would not fit a line.
HELPERS = {
    "vector": """
  private static Vector vector(float... values) {
    FloatList.Builder list = FloatList.newBuilder();
    for (float value : values) {
      list.addValues(value);
    }
    return Vector.newBuilder().setValues(list).build();
  }
""",
    "ints": """
  private static Feature ints(long... values) {
    Int64List.Builder list = Int64List.newBuilder();
    for (long value : values) {
      list.addValues(value);
    }
    return Feature.newBuilder().setInts(list).build();
  }
""",
    "floats": """
  private static Feature floats(float... values) {
    FloatList.Builder list = FloatList.newBuilder();
    for (float value : values) {
      list.addValues(value);
    }
    return Feature.newBuilder().setFloats(list).build();
  }
""",
    "strings": """
  private static Feature strings(String... values) {
    StringList.Builder list = StringList.newBuilder();
    for (String value : values) {
      list.addValues(value);
    }
    return Feature.newBuilder().setStrings(list).build();
  }
""",
}


def written(question: Question, endpoint: Endpoint) -> str:
    return FRAME.format(
        gateway=_text(endpoint.gateway),
        service=_text(endpoint.full_name),
        lines="\n".join(f"    {line}" for line in (*_asked_by(question), *_options(question))),
        ids="getTextIds" if endpoint.has_text_ids else "getIds",
        deadline_ms=DEADLINE_MS,
        helpers="".join(HELPERS[name] for name in HELPERS if name in _helpers(question)),
    )


def _helpers(question: Question) -> set[str]:
    used = {KINDS[feature.type] for feature in question.features}
    return used | {"vector"} if question.vectors else used


def _asked_by(question: Question) -> Iterator[str]:
    for vector in question.vectors:
        yield f"request.getVectorsBuilder().addVectors({_called('vector', list(map(_float, vector)))});"
    for item in question.items:
        yield f"request.getItemsBuilder().addItems({_item(item)});"
    if question.items and question.keep_query_items:
        yield "request.getItemsBuilder().setKeepQueryItems(true);"
    for feature in question.features:
        kind = KINDS[feature.type]
        values = _called(kind, [_value(value, kind) for value in feature.values])
        yield f"request.getFeaturesBuilder().putFeatures({_text(feature.name)}, {values});"


def _called(helper: str, values: list[str]) -> str:
    """A call with many arguments: numbers as many as fit each line, texts one on each."""
    short = f"{helper}({', '.join(values)})"
    if len(short) <= SHORT_CHARACTERS_MAX:
        return short
    lines = ",\n".join(" " * DEEP + value for value in values) if helper == "strings" else filled(values, DEEP)
    return f"{helper}(\n{lines})"


def _item(item: Item) -> str:
    key = f".setTextId({_text(item.id)})" if isinstance(item.id, str) else f".setId({item.id}L)"
    weight = "" if item.weight is None else f".setWeight({_float(item.weight)})"
    return f"WeightedItem.newBuilder(){key}{weight}"


def _value(value: Value, kind: str) -> str:
    if kind == "strings":
        return _text(str(value))
    return _float(float(value)) if kind == "floats" else f"{int(value)}L"


def _options(question: Question) -> Iterator[str]:
    yield f"request.setTopK({question.top_k});"
    if question.filter:
        yield f"request.setFilter({_text(question.filter)});"
    if question.merge != MERGE_DEFAULT:
        yield f"request.setMerge(Merge.{question.merge});"
    if question.ef is not None:
        yield f"request.getParamsBuilder().setEf({question.ef});"
    if question.exact:
        yield "request.getParamsBuilder().setExact(true);"
    if question.require_version:
        yield f"request.setRequireVersion({question.require_version}L);"
    for name in question.attributes:
        yield f"request.addReturnAttributes({_text(name)});"
    if question.trace:
        yield "request.setTrace(true);"


def _float(number: float) -> str:
    """javac refuses a literal that float32 would round to 0."""
    [rounded] = struct.unpack("<f", struct.pack("<f", number))
    return f"{number!r}f" if rounded else "0f"


def _text(text: str) -> str:
    """JSON's escapes are all Java's too, and none of those that it writes as \\u ends a line."""
    return json.dumps(text)
