"""Ids beside ids, in chunks: what was added, removed and kept."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from bundles.catalogue import Lookup
from bundles.ids import text_keys
from workers.children import id_sets
from workers.children.program import RowsDone


def numbers(ids: np.ndarray) -> Lookup:
    return Lookup(np.unique(ids), np.argsort(ids), None)


def texts(words: list[str]) -> Lookup:
    column = pa.array(words, pa.large_string())
    keys = text_keys(column)
    order = np.argsort(keys, kind="stable")
    return Lookup(keys[order], order, column)


@pytest.mark.parametrize("chunk", [1, 3, 1_000])
def test_each_id_is_counted_once_whatever_the_chunk(monkeypatch, chunk):
    monkeypatch.setattr(id_sets, "CHUNK_KEYS", chunk)
    random = np.random.default_rng(chunk)
    for _ in range(20):
        ours, others = (np.unique(random.integers(-50, 50, random.integers(0, 60))) for _ in range(2))
        found = id_sets.compare(numbers(ours), numbers(others), RowsDone())
        mine, theirs = set(ours.tolist()), set(others.tolist())
        wanted = {"added": mine - theirs, "removed": theirs - mine, "kept": mine & theirs}
        assert found.counts == {name: len(ids) for name, ids in wanted.items()}
        for name, ids in wanted.items():
            sample = found.samples[name]
            assert len(sample) == min(len(ids), id_sets.SAMPLE_IDS)
            assert {int(each) for each in sample} <= ids
        assert set(found.picked) == wanted["kept"]


def test_a_sample_is_from_all_over(monkeypatch):
    monkeypatch.setattr(id_sets, "CHUNK_KEYS", 10_000)
    found = id_sets.compare(numbers(np.arange(100_000)), numbers(np.arange(-50_000, 0)), RowsDone())
    sample = [int(each) for each in found.samples["added"]]
    assert (sample[0], sample[-1]) == (0, 99_999)
    assert np.diff(sample).max() < 15_000
    assert found.counts == {"added": 100_000, "removed": 50_000, "kept": 0}


def test_texts_are_told_as_texts():
    found = id_sets.compare(texts(["film-1", "film-2", "film-9"]), texts(["film-2", "film-3"]), RowsDone())
    assert found.counts == {"added": 2, "removed": 1, "kept": 1}
    assert set(found.samples["added"]) == {"film-1", "film-9"}
    assert (found.samples["removed"], found.samples["kept"]) == (["film-3"], ["film-2"])
