"""Ids beside ids, in chunks."""

from __future__ import annotations

import numpy as np
import pytest

from workers.children import comparing
from workers.children.comparing import shared_keys
from workers.children.program import RowsDone


@pytest.mark.parametrize("chunk", [1, 3, 1_000])
def test_shared_keys_are_counted_whatever_the_chunk(monkeypatch, chunk):
    monkeypatch.setattr(comparing, "CHUNK_KEYS", chunk)
    random = np.random.default_rng(chunk)
    for _ in range(20):
        keys, others = (np.unique(random.integers(-50, 50, random.integers(0, 60))) for _ in range(2))
        assert shared_keys(keys, others, RowsDone()) == len(set(keys.tolist()) & set(others.tolist()))
