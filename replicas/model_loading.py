"""Opens a version's query model, for those versions that have one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bundles import layout
from querymodel.errors import ModelRefused
from replicas.errors import LoadError
from replicas.schema import VersionSchema

if TYPE_CHECKING:
    from querymodel.model import QueryModel

MS_PER_SECOND = 1_000


def open_query_model(artifact: Path, schema: VersionSchema, *, ms_max: int) -> QueryModel | None:
    """The model of a version whose files were verified; None when it has none. A run of it takes at most `ms_max`.

    Raises LoadError artifact.bad_model.
    """
    if schema.model is None:
        return None
    # ONNX Runtime takes memory and a start that versions without a model do not pay for.
    from querymodel.model import QueryModel

    try:
        return QueryModel.open(
            artifact / layout.MODEL_FOLDER,
            schema.model,
            seconds_max=ms_max / MS_PER_SECOND,
            batch_max=schema.model_batch_max,
        )
    except ModelRefused as error:
        raise LoadError("artifact.bad_model", error.message) from error
