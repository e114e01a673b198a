"""`make bench-queries`: what each way to ask costs one caller of an idle platform, 1,000,000 x 64.

Prints p50 and p99 of each kind of query through the gateway, and in the same run the floor under it: hnswlib alone (one
query, one thread, the same graph and effort) and a bare grpc.aio server that answers with as many bytes. `x floor` is
the p50 as a multiple of both together. The effort is what tune_search would choose: the least that reaches the recall
that a service has when its owner says nothing of it, with the queries that are asked. Everything is measured in turns,
because the machine's other work comes and goes. A filter's rows are worked out once and kept, so its first query is
part of the warm-up (`make bench-filters` tells that price).

Exits 1 when a bar is missed, and names it: one vector takes at most 1 ms; features add to it at most what the query
model takes by itself and 0.3 ms. The index takes some eight minutes; with ARGS="--keep FOLDER" it is made once.
ARGS="--items 100000" is short.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import itertools
import json
import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import hnswlib
import numpy as np
import onnxruntime
import uvloop

from benchmarks import user_tower
from benchmarks.data import Float32, clustered
from benchmarks.kept import NotKept, kept
from benchmarks.load import PATH, Tally, call_again_and_again
from benchmarks.platform import (
    MODEL_SECONDS_MAX,
    DataPlane,
    Extras,
    Index,
    make_artifact,
    process_running,
    running,
    schema_of,
)
from benchmarks.query_kinds import FEATURES, VECTORS, Asked, Catalogue, Kind, kinds
from benchmarks.raw_hnsw import TOP_K, open_raw, recall_of, true_rows
from benchmarks.recall import recall_through
from bundles import layout
from bundles.artifact import Published
from engines import registry
from engines.effort import effort_grid
from engines.hnsw.header import INDEX_FILE
from querymodel.files import MODEL_FILE
from querymodel.model import QueryModel
from querymodel.spec import ModelSpec
from recallpb.v1 import recall_pb2

ITEMS, DIMENSION, SEED = 1_000_000, 64, 100
ENGINE = "hnsw"
SECONDS, ROUNDS = 2.0, 3
WARM_UP_SECONDS = 0.3
# More calls at once go over so many connections.
CONNECTIONS = 4
RECALL_QUERIES, COMPARED_USERS, TIMEOUT_SECONDS = 200, 20, 10.0
# What a service's search.recall_target is when its owner says nothing.
RECALL_TARGET = 0.98
RAW, ECHO, MODEL = "hnswlib alone", "bare grpc.aio echo", "query model alone"
VECTORS_MS_MAX, FEATURES_EXTRA_MS_MAX = 1.0, 0.3
PROGRESS_SECONDS = 15.0
# Rises when an artifact of the same facts is made otherwise, so that a kept one is not taken for it.
FORM = 2


@dataclass
class Figure:
    """The seconds of each call, a list for each round, and how many calls failed or were answered wrongly."""

    rounds: list[list[float]] = field(default_factory=list)
    failures: int = 0

    @property
    def calls(self) -> int:
        return sum(map(len, self.rounds))

    def ms(self, percentile: float) -> float:
        """Over all rounds; NaN when nothing was answered."""
        return 1e3 * float(np.percentile(np.concatenate(self.rounds), percentile)) if self.calls else math.nan

    def medians(self) -> list[float]:
        """Seconds, of each round."""
        return [statistics.median(spent) if spent else math.nan for spent in self.rounds]


Figures = dict[str, Figure]


@dataclass(frozen=True)
class Sizes:
    """How much is measured: items, seconds of each kind in each round, rounds."""

    items: int = ITEMS
    seconds: float = SECONDS
    rounds: int = ROUNDS


@dataclass(frozen=True)
class Measured:
    """`same_answers`: whether features were answered as the vectors are that the model makes of them."""

    figures: Figures
    ef: int
    recall: float
    answer_bytes: int
    same_answers: bool

    @property
    def floor_ms(self) -> float:
        return self.figures[RAW].ms(50) + self.figures[ECHO].ms(50)

    @property
    def added_ms(self) -> float:
        """What features add to vectors beside the model."""
        return self._median_of_rounds(lambda features, vectors, model: features - vectors - model)

    @property
    def features_over_vectors_ms(self) -> float:
        return self._median_of_rounds(lambda features, vectors, _model: features - vectors)

    def _median_of_rounds(self, what: Callable[[float, float, float], float]) -> float:
        """Each round by itself: what else the machine did was the same for all three."""
        rounds = zip(*(self.figures[name].medians() for name in (FEATURES, VECTORS, MODEL)), strict=True)
        return 1e3 * statistics.median(what(*medians) for medians in rounds)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=ITEMS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each kind in each round")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--keep", type=Path, help="where the artifact is kept, and found by the next run")
    asked = parser.parse_args(arguments)
    sizes = Sizes(asked.items, asked.seconds, asked.rounds)
    with tempfile.TemporaryDirectory(prefix="recall-bench-", dir="/tmp") as name:
        try:
            measured = measure(Path(name), sizes, asked.keep)
        except NotKept as error:
            parser.error(str(error))
    return report(measured, sizes)


def measure(folder: Path, sizes: Sizes, keep: Path | None = None) -> Measured:
    """Makes the artifact or takes the one in `keep`, starts a data plane in `folder`, and asks it. Raises NotKept."""
    items, profiles = clustered(sizes.items, DIMENSION, SEED)
    catalogue = Catalogue.of(items, SEED)
    extras = Extras(catalogue.attributes(SEED), user_tower.schema(DIMENSION), user_tower.onnx_bytes(DIMENSION, SEED))
    artifact = _artifact(folder, catalogue, extras, profiles, keep)
    ef = _ef_of(artifact)
    asked = _asked(artifact, extras, profiles)
    raw = open_raw(artifact.path / layout.INDEX_FOLDER / INDEX_FILE, DIMENSION, ef)
    with running(folder, artifact, DIMENSION, sizes.items) as plane:
        recall = recall_through(plane, items, asked.vectors[:RECALL_QUERIES])
        ways = kinds(asked, catalogue, SEED)
        answers = _answers(plane, ways)
        with _echo(folder, answers[VECTORS][0]) as echo:
            bench = _Bench(plane, echo, raw, _model_alone(artifact), asked, ways)
            _freeze_garbage()
            figures = bench.rounds(sizes)
    same = [_ids(answer) for answer in answers[FEATURES]] == [_ids(answer) for answer in answers[VECTORS]]
    return Measured(figures, ef, recall, len(answers[VECTORS][0]), same)


def _artifact(folder: Path, catalogue: Catalogue, extras: Extras, asked: Float32, keep: Path | None) -> Published:
    items = len(catalogue.vectors)
    index = Index(ENGINE, TOP_K, os.cpu_count() or 1)

    def make(place: Path) -> Published:
        _say(f"making the artifact of {items:,} x {DIMENSION}, {index.threads} threads; 1,000,000 take some 8 minutes")
        tune = _tuner(catalogue.vectors, asked[:RECALL_QUERIES])
        return make_artifact(place, catalogue.vectors, index, extras, _progress(items), tune)

    if keep is None:
        return make(folder / "made")
    of = {"items": items, "dimension": DIMENSION, "seed": SEED, "engine": ENGINE}
    return kept(keep, {**of, "recall_target": RECALL_TARGET, "form": FORM}, make)


def _tuner(items: Float32, queries: Float32) -> Callable[[Path], int]:
    """Chooses from the efforts that a build tries, by the recall of these queries in the graph in a folder."""

    def tune(folder: Path) -> int:
        truth = true_rows(items, queries)
        efforts = effort_grid(registry.describe(ENGINE), top_k=TOP_K)
        raw = open_raw(folder / INDEX_FILE, DIMENSION, efforts[0])
        for ef in efforts:
            raw.set_ef(ef)
            if recall_of(raw.knn_query(queries, k=TOP_K)[0], truth) >= RECALL_TARGET:
                return ef
        return efforts[-1]

    return tune


def _ef_of(artifact: Published) -> int:
    manifest = json.loads((artifact.path / layout.MANIFEST).read_text())
    return int(manifest["search_params"]["ef"])


def _progress(items: int) -> Callable[[int], None]:
    """Says now and then how far the index is, and how long it still takes."""
    started = said = time.monotonic()

    def progress(done: int) -> None:
        nonlocal said
        now = time.monotonic()
        if now - said >= PROGRESS_SECONDS:
            said = now
            left = (now - started) / done * (items - done)
            _say(f"  {done:,} of {items:,} items, about {left:.0f} s left")

    return progress


def _asked(artifact: Published, extras: Extras, profiles: Float32) -> Asked:
    """The profiles' features, and the vectors that the artifact's model makes of them."""
    spec = ModelSpec.of(schema_of(DIMENSION, extras))
    assert spec is not None
    model = QueryModel.open(artifact.path / layout.MODEL_FOLDER, spec, seconds_max=MODEL_SECONDS_MAX)
    features = user_tower.features_of(profiles, SEED)
    vectors = [model.encode([each])[0] for each in features]
    model.close()
    return Asked(features, np.concatenate([each for each in vectors if isinstance(each, np.ndarray)]))


def _model_alone(artifact: Published) -> onnxruntime.InferenceSession:
    """On one thread, as a replica runs it, without anything of ours around it."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    payload = (artifact.path / layout.MODEL_FOLDER / MODEL_FILE).read_bytes()
    return onnxruntime.InferenceSession(payload, options, providers=["CPUExecutionProvider"])


def _answers(plane: DataPlane, asked: list[Kind]) -> Mapping[str, list[bytes]]:
    """What the first users are answered when they are asked for by features and by vectors."""
    metadata = (("authorization", f"Bearer {plane.key}"),)
    answers: dict[str, list[bytes]] = {}
    with grpc.insecure_channel(plane.address) as channel:
        recall = channel.unary_unary(f"{PATH}Recall")
        for kind in asked:
            if kind.name in (FEATURES, VECTORS):
                some = kind.payloads[:COMPARED_USERS]
                answers[kind.name] = [recall(each, metadata=metadata, timeout=TIMEOUT_SECONDS) for each in some]
    return answers


def _ids(answer: bytes) -> list[int]:
    return list(recall_pb2.RecallResponse.FromString(answer).ids)


@contextlib.contextmanager
def _echo(folder: Path, answer: bytes) -> Iterator[str]:
    """The address of a bare server that answers every Recall with `answer`."""
    path, note = folder / "echo.answer", folder / "echo.address"
    path.write_bytes(answer)
    command = [sys.executable, "-m", "benchmarks.echo", "--answer", str(path), "--note", str(note)]
    with process_running(command, {}, note.exists):
        yield note.read_text()


def _freeze_garbage() -> None:
    """A collection among a million objects that stay would be a slow call of whoever is measured just then."""
    gc.collect()
    gc.freeze()


@dataclass(frozen=True)
class _Bench:
    """What is measured, in turns."""

    plane: DataPlane
    echo: str
    raw: hnswlib.Index
    model: onnxruntime.InferenceSession
    asked: Asked
    kinds: list[Kind]

    def rounds(self, sizes: Sizes) -> Figures:
        figures = {name: Figure() for name in (RAW, MODEL, ECHO, *(kind.name for kind in self.kinds))}
        seconds = len(figures) * (sizes.seconds + WARM_UP_SECONDS)
        for number in range(1, sizes.rounds + 1):
            _say(f"round {number} of {sizes.rounds}, about {seconds:.0f} s")
            self._round(figures, sizes.seconds)
        return figures

    def _round(self, figures: Figures, seconds: float) -> None:
        alone = next(kind for kind in self.kinds if kind.name == VECTORS)
        figures[RAW].rounds.append(self._hnswlib_alone(seconds))
        _add(figures[ECHO], self._load(self.echo, alone, seconds))
        figures[MODEL].rounds.append(self._model_alone(seconds))
        for kind in self.kinds:
            _add(figures[kind.name], self._load(self.plane.address, kind, seconds))

    def _hnswlib_alone(self, seconds: float) -> list[float]:
        return _timed(lambda query: self.raw.knn_query(query, k=TOP_K, num_threads=1), self.asked.vectors, seconds)

    def _model_alone(self, seconds: float) -> list[float]:
        tensors = [user_tower.tensors_of(each) for each in self.asked.features]
        return _timed(lambda fed: self.model.run(None, fed), tensors, seconds)

    def _load(self, address: str, kind: Kind, seconds: float) -> Tally:
        """Warm calls first, on connections of their own."""
        for spell in (min(WARM_UP_SECONDS, seconds), seconds):
            tally: Tally = uvloop.run(
                call_again_and_again(
                    address,
                    self.plane.key,
                    kind.rpc,
                    kind.payloads,
                    spell,
                    callers=kind.callers,
                    connections=CONNECTIONS,
                    is_right=kind.is_right,
                )
            )
        return tally


def _timed(work: Callable[[Any], object], things: Iterable[Any], seconds: float) -> list[float]:
    """The seconds of each call, of as many as fit."""
    spent: list[float] = []
    until = time.perf_counter() + seconds
    for thing in itertools.cycle(things):
        started = time.perf_counter()
        if started >= until:
            break
        work(thing)
        spent.append(time.perf_counter() - started)
    return spent


def _add(figure: Figure, tally: Tally) -> None:
    figure.rounds.append(tally.spent)
    figure.failures += tally.failures


def report(measured: Measured, sizes: Sizes) -> int:
    """Prints the table and what is missed; 1 when something is."""
    print(
        f"{sizes.items:,} x {DIMENSION}, {ENGINE}, ef {measured.ef}, top {TOP_K}, recall {measured.recall:.4f}; "
        f"an answer by a vector has {measured.answer_bytes:,} bytes"
    )
    print(f"{'one caller, or as many as it says':<34}{'p50 ms':>9}{'p99 ms':>9}{'x floor':>9}{'calls':>9}")
    for name, figure in measured.figures.items():
        p50 = figure.ms(50)
        print(f"{name:<34}{p50:9.3f}{figure.ms(99):9.3f}{p50 / measured.floor_ms:9.2f}{figure.calls:9,}")
    print(
        f"features take {measured.features_over_vectors_ms:.3f} ms more than vectors: "
        f"the model's own {measured.figures[MODEL].ms(50):.3f} ms and {measured.added_ms:.3f} ms"
    )
    missed = list(misses(measured))
    for line in missed:
        print(f"MISSED: {line}")
    return 1 if missed else 0


def misses(measured: Measured) -> Iterator[str]:
    """Each bar that is missed, in words."""
    vectors_ms = measured.figures[VECTORS].ms(50)
    if vectors_ms > VECTORS_MS_MAX:
        yield f"the p50 of {VECTORS} is {vectors_ms:.3f} ms; the bar is {VECTORS_MS_MAX:g}"
    if measured.added_ms > FEATURES_EXTRA_MS_MAX:
        added_ms = measured.added_ms
        yield f"features add {added_ms:.3f} ms beside the model's own time; the bar is {FEATURES_EXTRA_MS_MAX:g}"
    if not measured.same_answers:
        yield "features are answered otherwise than the vectors that the model makes of them"
    for name, figure in measured.figures.items():
        if figure.failures or not figure.calls:
            yield f"{name}: {figure.failures} calls failed or were answered wrongly, {figure.calls} were answered"


def _say(what: str) -> None:
    """Not part of the table."""
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
