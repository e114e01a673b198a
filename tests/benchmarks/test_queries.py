"""`make bench-queries` in small: every kind of query is asked and counted, and what is missed is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.kept import NotKept, kept
from benchmarks.queries import ECHO, MODEL, RAW, Figure, Measured, Sizes, measure, misses, report
from benchmarks.query_kinds import FEATURES, VECTORS
from bundles.artifact import Published

SMALL = Sizes(items=3_000, seconds=0.1, rounds=1)
KINDS = {
    *("vectors (1)", "vectors (1), 4 callers", "vectors (1), 16 callers"),
    *("vectors (4), MAX", "vectors (4), WEIGHTED_SUM", "vectors (4), ROUND_ROBIN"),
    *("features", "items (1)", "items (50)"),
    *("filter, 50 %", "filter, 10 %", "filter, 1 %", "filter, 0.1 %"),
    *("excluding 1,500 ids", "exact", "returning attributes, vectors"),
    *("BatchRecall(64)", "GetItems(50)", "CountItems"),
}


@pytest.mark.servers
def test_every_kind_is_answered_rightly_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measured = measure(tmp_path, SMALL)
    assert set(measured.figures) == {RAW, ECHO, MODEL} | KINDS
    assert {name: figure.failures for name, figure in measured.figures.items() if figure.failures} == {}
    assert {name for name, figure in measured.figures.items() if not figure.calls} == set()
    assert measured.same_answers
    assert measured.recall >= 0.98
    assert measured.ef >= 100
    report(measured, SMALL)
    printed = capsys.readouterr().out
    assert {name for name in measured.figures if f"\n{name} " not in printed} == set()


def measured_of(*, vectors_ms: float, features_ms: float, same_answers: bool = True, failures: int = 0) -> Measured:
    spent = {RAW: 0.3, MODEL: 0.05, ECHO: 0.25, VECTORS: vectors_ms, FEATURES: features_ms}
    figures = {name: Figure([[1e-3 * ms] * 5] * 2) for name, ms in spent.items()}
    figures[FEATURES].failures = failures
    return Measured(figures, ef=100, recall=0.98, answer_bytes=1_000, same_answers=same_answers)


def test_within_the_bars_nothing_is_missed() -> None:
    assert list(misses(measured_of(vectors_ms=0.99, features_ms=1.33))) == []


@pytest.mark.parametrize(
    ("measured", "named"),
    [
        (measured_of(vectors_ms=1.01, features_ms=1.02), "the p50 of vectors"),
        (measured_of(vectors_ms=0.8, features_ms=1.16), "features add 0.310 ms"),
        (measured_of(vectors_ms=0.8, features_ms=0.9, same_answers=False), "answered otherwise"),
        (measured_of(vectors_ms=0.8, features_ms=0.9, failures=3), "features: 3 calls failed"),
    ],
)
def test_a_missed_bar_is_named(measured: Measured, named: str) -> None:
    [missed] = misses(measured)
    assert named in missed


def made_in(folder: Path) -> Published:
    (folder / "artifact").mkdir(parents=True)
    return Published(folder / "artifact", "ab" * 32, 7)


def test_a_kept_artifact_is_made_once_and_only_of_the_same_facts(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    first = kept(folder, {"items": 3}, made_in)
    assert first.path == folder / "artifact"
    assert first.path.is_dir()

    def never(_folder: Path) -> Published:
        raise AssertionError("it is made already")

    assert kept(folder, {"items": 3}, never) == first
    with pytest.raises(NotKept, match="name another folder"):
        kept(folder, {"items": 4}, never)


def test_a_folder_of_somebody_else_s_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letter").write_text("dear")
    with pytest.raises(NotKept, match="not empty"):
        kept(tmp_path, {"items": 3}, made_in)
    assert [path.name for path in tmp_path.iterdir()] == ["letter"]
