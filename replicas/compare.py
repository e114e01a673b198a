"""Asks two replicas of one node the same queries, in turns, from a process that is neither of them.

    python -m replicas.compare ARTIFACT OURS OUR_VERSION BESIDE BESIDE_VERSION TOP_K

OURS and BESIDE are gRPC targets; ARTIFACT is ours, for its queries. Each query goes to the one and to the other, so
that a noisy moment disturbs both, and then both rest, because what is beside us has callers. Prints {"p50_ms",
"p99_ms", "beside_p50_ms", "beside_p99_ms", "overlap", "mean_score", "beside_mean_score", "queries", "timed"} and
exits 0, or {"error": text} and exits 1; `timed`: how many calls of each the latencies are of.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from google.protobuf.message_factory import GetMessageClass

from bundles import layout
from querymodel.recorded import read as read_features
from querymodel.spec import Features
from recallpb.internal.v1 import replica_pb2
from recallpb.v1 import recall_pb2
from replicas.client import CHANNEL_OPTIONS, SERVICE
from replicas.queries import Floats

# With the pauses below, five times as long as they take.
QUERIES_MAX = 500
# A p99 of fewer is hardly one: the queries are asked again until so many were timed, or time is up.
TIMED_MIN = 500
# The first ones open the connections.
UNTIMED = 20
SECONDS_MAX = 30.0
# Of the time, at most so much is spent on asking the live version: asked without a pause it would have its callers
# wait, those of an engine on one core twice as long.
BUSY_SHARE_MAX = 0.2
CALL_SECONDS_MAX = 5.0
MS_PER_SECOND = 1_000


class Unanswered(Exception):
    """One of the two does not answer these queries."""


@dataclass
class Side:
    """One replica: what it was asked, and what came."""

    who: str
    version: int
    call: Any
    took_ms: list[float] = field(default_factory=list)

    def ask(self, raw: bytes) -> recall_pb2.RecallResponse:
        """Raises Unanswered."""
        request = replica_pb2.AnswerRequest(requests=[raw], version=self.version)
        began = time.perf_counter()
        try:
            response = self.call(request, timeout=CALL_SECONDS_MAX)
        except grpc.RpcError as error:
            raise Unanswered(f"{self.who} did not answer: {error.code().name}") from error
        self.took_ms.append((time.perf_counter() - began) * MS_PER_SECOND)
        return self._read(response.answers[0])

    @property
    def timed(self) -> int:
        """How many calls count."""
        return max(0, len(self.took_ms) - UNTIMED)

    def percentiles(self) -> list[float]:
        """p50 and p99 of all that is timed; of the first calls, where there are no others."""
        timed = self.took_ms[UNTIMED:] or self.took_ms
        found: list[float] = np.percentile(timed, [50, 99]).tolist()
        return found

    def _read(self, answer: replica_pb2.Answer) -> recall_pb2.RecallResponse:
        if answer.WhichOneof("result") != "response":
            raise Unanswered(f"{self.who} does not answer these queries: {answer.error.message}")
        return recall_pb2.RecallResponse.FromString(answer.response)


@dataclass
class Likeness:
    """How alike the answers of both are, summed over the queries."""

    queries: int = 0
    overlap: float = 0.0
    mean_score: float = 0.0
    beside_mean_score: float = 0.0

    def add(self, ours: recall_pb2.RecallResponse, beside: recall_pb2.RecallResponse) -> None:
        own, other = _ids(ours), _ids(beside)
        self.queries += 1
        self.overlap += len(own & other) / max(1, len(own), len(other))
        self.mean_score += _mean(ours.scores)
        self.beside_mean_score += _mean(beside.scores)


def compare(ours: Side, beside: Side, requests: Sequence[bytes]) -> dict[str, Any]:
    """Likeness over each request once, latencies over all calls. Raises Unanswered."""
    likeness = Likeness()
    give_up_at = time.monotonic() + SECONDS_MAX
    turn = 0
    while turn < len(requests) or turn < TIMED_MIN + UNTIMED:
        # Who comes second finds warmer caches: by turns.
        first, second = (ours, beside) if turn % 2 else (beside, ours)
        answers = {side.who: side.ask(requests[turn % len(requests)]) for side in (first, second)}
        if turn < len(requests):
            likeness.add(answers[ours.who], answers[beside.who])
        turn += 1
        if time.monotonic() > give_up_at:
            break
        _rest(ours, beside)
    return _result(ours, beside, likeness)


def _rest(ours: Side, beside: Side) -> None:
    """For as long as keeps the live version's part in the time small; our own turn is a rest for it, too."""
    took_ms = beside.took_ms[-1]
    time.sleep(max(0.0, took_ms / BUSY_SHARE_MAX - took_ms - ours.took_ms[-1]) / MS_PER_SECOND)


def main() -> int:
    """0 with the figures, 1 with why there are none."""
    artifact, our_target, our_version, beside_target, beside_version, top_k = sys.argv[1:]
    said: dict[str, Any] = {"error": "the artifact holds no queries"}
    with _channel(our_target) as our_channel, _channel(beside_target) as beside_channel:
        for requests in _questions(Path(artifact), int(top_k)):
            ours = Side("the new version", int(our_version), _method(our_channel))
            beside = Side("the live version", int(beside_version), _method(beside_channel))
            try:
                return _say(compare(ours, beside, requests), code=0)
            except Unanswered as error:
                said = {"error": str(error)}
    return _say(said, code=1)


def _questions(artifact: Path, top_k: int) -> Iterator[list[bytes]]:
    """Recorded features first, which each version encodes by its own model; vectors if one of the two has none."""
    if (artifact / layout.FEATURES).is_file():
        yield [
            _request(top_k, features=_feature_query(each))
            for each in _spread(read_features(artifact / layout.FEATURES))
        ]
    vectors: Floats = np.load(artifact / layout.QUERIES, mmap_mode="r", allow_pickle=False)
    if len(vectors):
        yield [_request(top_k, vectors=_vector_query(each)) for each in _spread(vectors)]


def _spread(recorded: Any) -> list[Any]:
    """At most QUERIES_MAX of them, from all over."""
    places = np.unique(np.linspace(0, len(recorded) - 1, min(QUERIES_MAX, len(recorded))).astype(np.int64))
    return [recorded[place] for place in places.tolist()]


def _request(top_k: int, **query: Any) -> bytes:
    return recall_pb2.RecallRequest(top_k=top_k, **query).SerializeToString()


def _vector_query(vector: Floats) -> recall_pb2.VectorQuery:
    packed = np.asarray(vector, dtype="<f4").tobytes()
    return recall_pb2.VectorQuery(vectors=[recall_pb2.Vector(packed=packed)])


def _feature_query(features: Features) -> recall_pb2.FeatureQuery:
    lists = {"ints": recall_pb2.Int64List, "floats": recall_pb2.FloatList, "strings": recall_pb2.StringList}
    return recall_pb2.FeatureQuery(
        features={
            name: recall_pb2.Feature(**{kind: lists[kind](values=values)}) for name, (kind, values) in features.items()
        }
    )


def _ids(response: recall_pb2.RecallResponse) -> set[int] | set[str]:
    return set(response.text_ids) if response.text_ids else set(response.ids)


def _mean(scores: Sequence[float]) -> float:
    return sum(scores) / len(scores) if scores else 0.0


def _result(ours: Side, beside: Side, likeness: Likeness) -> dict[str, Any]:
    p50_ms, p99_ms = ours.percentiles()
    beside_p50_ms, beside_p99_ms = beside.percentiles()
    return {
        "p50_ms": p50_ms,
        "p99_ms": p99_ms,
        "beside_p50_ms": beside_p50_ms,
        "beside_p99_ms": beside_p99_ms,
        "overlap": likeness.overlap / likeness.queries,
        "mean_score": likeness.mean_score / likeness.queries,
        "beside_mean_score": likeness.beside_mean_score / likeness.queries,
        "queries": likeness.queries,
        "timed": ours.timed,
    }


def _channel(target: str) -> grpc.Channel:
    return grpc.insecure_channel(target, options=CHANNEL_OPTIONS)


def _method(channel: grpc.Channel) -> Any:
    method = SERVICE.methods_by_name["Answer"]
    return channel.unary_unary(
        f"/{SERVICE.full_name}/{method.name}",
        request_serializer=GetMessageClass(method.input_type).SerializeToString,
        response_deserializer=GetMessageClass(method.output_type).FromString,
    )


def _say(result: dict[str, Any], *, code: int) -> int:
    sys.stdout.write(json.dumps(result) + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
