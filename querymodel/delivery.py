"""What a drop brings for its query model becomes files of a version: the model as it is, vocabularies, features.

Nothing is loaded or judged here but sizes, types and columns; `trial` does that in a process of its own.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from bundles import layout
from bundles.drop import Drop
from bundles.errors import DropError
from bundles.files import DropFile
from querymodel import recorded, vocabulary
from querymodel.errors import ModelRefused
from querymodel.files import MODEL_FILE, vocabulary_folder
from querymodel.limits import MODEL_BYTES_MAX
from querymodel.spec import ModelSpec

COPY_BYTES = 8 << 20


def deliver(drop: Drop, spec: ModelSpec, out_dir: Path) -> None:
    """Writes the folder `model` and, when the drop recorded features, features.arrow. Can run twice on one `out_dir`.

    Raises DropError.
    """
    assert drop.query_model is not None  # noqa: S101 - it was opened for a schema that has one
    folder = out_dir / layout.MODEL_FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    _copy(drop.query_model, folder / MODEL_FILE)
    for number, (name, file) in enumerate(zip(spec.vocabularies, drop.vocabularies, strict=True)):
        place = vocabulary_folder(folder, number)
        place.mkdir()
        try:
            vocabulary.write(file, spec.vocabulary_type(name), place)
        except ModelRefused as error:
            raise DropError(error.reason, error.message, {"file": name}) from error
    features = recorded.read_drop(drop.queries, spec) if drop.queries else []
    (out_dir / layout.FEATURES).unlink(missing_ok=True)
    if features:
        recorded.write(features, spec, out_dir / layout.FEATURES)


def _copy(file: DropFile, path: Path) -> None:
    if file.bytes > MODEL_BYTES_MAX:
        message = f"{file.name} has {file.bytes} bytes; a query model has at most {MODEL_BYTES_MAX}."
        raise DropError("drop.model_too_large", message, {"file": file.name, "bytes": file.bytes})
    with file.open() as source, path.open("wb") as target:
        shutil.copyfileobj(source, target, COPY_BYTES)
    file.check_unchanged()
