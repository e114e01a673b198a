"""Query models on disk, opened as a replica opens them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bundles.files import DropFile
from querymodel import vocabulary
from querymodel.files import MODEL_FILE, vocabulary_folder
from querymodel.model import QueryModel
from querymodel.spec import Feature, Features, ModelSpec
from tests.support.query_models import Tower

RUN_SECONDS_MAX = 5.0

Open = Callable[..., QueryModel]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """Opens a model of given bytes, for a `query_model` block, with vocabularies {file name: {value: index}}."""
    models: list[QueryModel] = []

    def open_(
        payload: bytes,
        block: Mapping[str, Any],
        *,
        dimension: int = 16,
        words: Mapping[str, Mapping[Any, int]] | None = None,
        seconds_max: float = RUN_SECONDS_MAX,
        batch_max: int = 8,
    ) -> QueryModel:
        spec = ModelSpec.of({"dimension": dimension, "query_model": block})
        assert spec is not None
        folder = tmp_path / f"model-{len(models)}"
        folder.mkdir()
        (folder / MODEL_FILE).write_bytes(payload)
        for number, name in enumerate(spec.vocabularies):
            write_vocabulary(tmp_path / name, (words or {})[name])
            place = vocabulary_folder(folder, number)
            place.mkdir()
            vocabulary.write(DropFile.at(tmp_path, name), spec.vocabulary_type(name), place)
        models.append(QueryModel.open(folder, spec, seconds_max=seconds_max, batch_max=batch_max))
        return models[-1]

    yield open_
    for each in models:
        each.close()


def write_vocabulary(path: Path, words: Mapping[Any, int]) -> None:
    pq.write_table(pa.table({"value": list(words), "index": list(words.values())}), path)


def user(history: list[int], age: float = 1.0) -> Features:
    """Features of a `Tower`."""
    return {"history": Feature("ints", history), "age": Feature("floats", [age])}


@pytest.fixture
def tower() -> Tower:
    return Tower.of(1)
