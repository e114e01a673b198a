"""An engine's name occurs only in its own folder and in data: nothing else may decide by it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from engines import registry

ROOT = Path(__file__).parents[2]
CODE = (
    "platform",
    "tenants",
    "workers",
    "bundles",
    "documents",
    "failpoints",
    "cores",
    "engines",
    "replicas",
    "gateway",
    "clients/python",
)
LIBRARIES = r"\b(hnsw|hnswlib|milvus|faiss)\b"
# `flat` is also a word; as an engine's name it stands in quotes.
NAMES = re.compile(rf"{LIBRARIES}|[\"']({'|'.join(registry.names())})[\"']", re.IGNORECASE)
# The registry's table is data: name to folder.
DATA = {"engines/registry.py"}


def _files() -> list[Path]:
    return [path for folder in CODE for path in (ROOT / folder).rglob("*.py")]


def _is_exempt(path: Path) -> bool:
    relative = path.relative_to(ROOT)
    own_folder = relative.parts[0] == "engines" and relative.parts[1] in registry.names()
    return own_folder or relative.as_posix() in DATA


def test_engine_names_stay_in_their_folders() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in _files()
        if not _is_exempt(path)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if NAMES.search(line)
    ]
    assert found == []


def test_the_search_would_find_a_name() -> None:
    assert NAMES.search('if engine.name == "hnsw":')
    assert NAMES.search("if name == 'flat':")
    assert not NAMES.search("a flat hnswish list")
    assert len(_files()) > 20


@pytest.mark.parametrize("folder", registry.names())
def test_every_engine_has_the_same_files(folder: str) -> None:
    present = {path.name for path in (ROOT / "engines" / folder).iterdir()}
    assert {"README.md", "__init__.py", "builder.py", "params.py", "searcher.py"} <= present
