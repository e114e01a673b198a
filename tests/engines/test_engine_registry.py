from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from engines import registry
from engines.errors import UnknownEngine


@pytest.mark.parametrize("module", ["engines.registry", "engines.errors", "engines.description"])
def test_the_registry_is_light_enough_for_a_web_process(module: str) -> None:
    """Validation and the console's form need descriptions; neither numpy nor an engine's library comes with them."""
    code = (
        f"import sys, {module}\n"
        "from engines import registry\n"
        "[registry.describe(name).params_model.model_json_schema() for name in registry.names()]\n"
        "print(*sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "engines.registry" in loaded
    heavy = {"numpy", "hnswlib", "faiss", "pymilvus", "grpc"} | {
        name for name in loaded if name.endswith((".builder", ".searcher"))
    }
    assert heavy.isdisjoint(loaded)


def test_every_parameter_tells_people_what_it_does() -> None:
    for name in registry.names():
        about = registry.describe(name)
        assert about.name == name
        assert about.summary
        for model in (about.params_model, about.search_params_model):
            for field in model.model_fields.values():
                assert field.title
                assert field.description
                assert not field.is_required()


def test_parameters_are_bounded() -> None:
    model = registry.describe("hnsw").params_model
    assert model.model_validate({"M": 32}).model_dump() == {"M": 32, "ef_construction": 200}
    for bad in ({"M": 1}, {"M": 1_000}, {"ef_construction": 0}, {"m": 16}, {"M": "many"}):
        with pytest.raises(ValueError, match="validation error"):
            model.model_validate(bad)


def test_an_unknown_engine_is_named() -> None:
    for ask in (registry.describe, registry.builder):
        with pytest.raises(UnknownEngine, match="'annoy' is not one of flat, hnsw, faiss"):
            ask("annoy")


def test_auto_is_exact_for_few_items_and_a_graph_for_many() -> None:
    assert registry.choose(10_000, 64, filterable=False).name == "flat"
    assert registry.choose(40_000, 64, filterable=True).name == "flat"
    assert registry.choose(40_001, 64, filterable=False).name == "hnsw"
    assert registry.choose(10_000, 768, filterable=False).name == "hnsw"
    assert "40,000 items of dimension 64" in registry.choose(1_000_000, 64, filterable=False).reason


def test_auto_takes_a_graph_that_keeps_to_filters_for_items_with_attributes_and_says_so() -> None:
    chosen = registry.choose(1_000_000, 64, filterable=True)
    assert chosen.name == registry.largest(filterable=True) == "faiss"
    assert registry.describe(chosen.name).filters
    assert "attributes" in chosen.reason
    assert registry.largest(filterable=False) == "hnsw"


def test_auto_is_no_engine_itself() -> None:
    assert registry.AUTO not in registry.names()


def test_an_engine_whose_indexes_are_more_than_files_can_remove_them() -> None:
    for name, entry in registry.ENGINES.items():
        assert bool(entry.remover) == bool(registry.describe(name).reference_file)


def test_of_an_index_that_is_its_files_nothing_else_is_removed(tmp_path: Path) -> None:
    (tmp_path / "index.bin").write_bytes(b"a graph")
    assert not registry.is_more_than_files(tmp_path)
    assert not registry.is_more_than_files(tmp_path / "nowhere")
    assert registry.remove([tmp_path, tmp_path / "nowhere"], []) == {}
