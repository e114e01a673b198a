"""Which rows repeat an id and where an id lies, for numbers and for texts whose keys collide."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundles import ids
from bundles.batches import Int64


@given(st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 5), st.booleans()), max_size=60))
def test_numbers_are_arranged_and_found(rows: list[tuple[int, bool]]) -> None:
    keys = np.array([number for number, _ in rows], np.int64)
    searchable = np.array([flag for _, flag in rows], np.bool_)
    found = ids.arrange(keys, searchable, None)
    expected = plainly(keys.tolist(), searchable)
    assert found.order.tolist() == expected
    assert found.searchable == sum(bool(searchable[index]) for index in expected)
    in_artifact = [keys[index] for index in expected]
    wanted = np.array([*in_artifact, 77, -(2**63)], np.int64)
    located = ids.find_integers(found.keys, found.rows, wanted)
    assert located.tolist() == [in_artifact.index(each) if each in in_artifact else -1 for each in wanted]


@given(st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-9, 9), max_size=40), st.integers(1, 64))
def test_an_id_is_in_the_partition_of_its_remainder_whatever_else_there_is(numbers: list[int], partitions: int) -> None:
    keys = np.array(numbers, np.int64)
    searchable = np.array([number % 5 != 0 for number in numbers], np.bool_)
    found = ids.arrange(keys, searchable, None, partitions)
    on_shelf = [number for number in dict.fromkeys(numbers) if number % 5]
    runs = [[number for number in on_shelf if number % partitions == run] for run in range(partitions)]
    off_shelf = [number for number in dict.fromkeys(numbers) if number % 5 == 0]
    assert [numbers[index] for index in found.order] == [number for run in [*runs, off_shelf] for number in run]
    assert found.partition_rows == tuple(map(len, runs))
    assert found.searchable == len(on_shelf)


@pytest.mark.parametrize("distinct_keys", [1, 3, 2**63 - 1])
def test_texts_are_told_apart_when_their_keys_collide(monkeypatch: pytest.MonkeyPatch, distinct_keys: int) -> None:
    """A real 64-bit collision cannot be had in a test, therefore the keys are made coarser."""
    true_keys = ids.text_keys
    monkeypatch.setattr(ids, "text_keys", lambda texts: true_keys(texts) % distinct_keys)
    monkeypatch.setattr(ids, "COMPARED_AT_A_TIME", 7)
    rng = np.random.default_rng(3)
    texts = [f"film-{number}" for number in rng.integers(0, 40, 100)]
    searchable = rng.random(100) < 0.7
    array = pa.array(texts, pa.large_string())
    found = ids.arrange(ids.text_keys(array), searchable, array)
    expected = plainly(texts, searchable)
    assert found.order.tolist() == expected
    in_artifact = [texts[index] for index in expected]
    wanted = [*in_artifact, "film-99", "", "film-1", "film-1"]
    located = ids.find_texts(
        found.keys, found.rows, array.take(pa.array(found.order)), pa.array(wanted, pa.large_string())
    )
    assert located.tolist() == [in_artifact.index(each) if each in in_artifact else -1 for each in wanted]


def test_keys_of_texts_are_stable() -> None:
    """They are in files: another hash would find nothing in yesterday's artifacts. The bytes are those of b2sum."""
    first_bytes = {"": "786a02f742015903", "film-1": "c1262df4e12d8c00", "zoë": "92f1c19f7a239738"}
    expected = [int.from_bytes(bytes.fromhex(octets), "little", signed=True) for octets in first_bytes.values()]
    assert ids.text_keys(pa.array(list(first_bytes))).tolist() == expected


def test_nothing_is_found_in_nothing() -> None:
    none: Int64 = np.array([], np.int64)
    assert ids.find_integers(none, none, np.array([1])).tolist() == [-1]
    assert ids.find_texts(none, none, pa.array([], pa.large_string()), pa.array(["a"])).tolist() == [-1]


def plainly(found: list[Any], searchable: np.ndarray[Any, Any]) -> list[int]:
    first = [index for index, each in enumerate(found) if found.index(each) == index]
    return [index for index in first if searchable[index]] + [index for index in first if not searchable[index]]
