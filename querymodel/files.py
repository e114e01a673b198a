"""Names of a query model's files inside the folder `model` of an artifact."""

from __future__ import annotations

from pathlib import Path

MODEL_FILE = "model.onnx"


def vocabulary_folder(folder: Path, number: int) -> Path:
    """Where the vocabulary lies that stands at `number` in the spec's."""
    return folder / f"vocabulary-{number}"
