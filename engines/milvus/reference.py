"""The only file of an index: which collection of which instance it is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from engines.description import Metric
from engines.errors import IndexMismatch, IndexUnreadable
from engines.milvus.params import REFERENCE_FILE, IndexType, MilvusParams

if TYPE_CHECKING:
    # Who only asks where an index lies does without numpy.
    from engines.base import IndexSpec

FORMAT = 1
# What does not have such a name is not ours to search, nor to drop.
NAME_PREFIX = "recall_"
NAME = rf"^{NAME_PREFIX}[0-9a-f]+$"


class Reference(BaseModel):
    """Where an index is and what it is; what a spec or the vectors say has to agree with it.

    The file is there before the collection is, so that whoever clears away after a killed build finds the name.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = Field(default=FORMAT, ge=FORMAT, le=FORMAT)
    instance: str
    collection: str = Field(pattern=NAME)
    index_type: IndexType
    metric: Metric
    dimension: int = Field(ge=1)
    rows: int = Field(ge=1)

    def write(self, index_dir: Path) -> None:
        """Whole or not at all, and on the disk: the collection, which is made next, would outlive a lost name."""
        new = index_dir / f".{REFERENCE_FILE}.new"
        with new.open("w") as file:
            file.write(self.model_dump_json(indent=1) + "\n")
            file.flush()
            os.fsync(file.fileno())
        new.replace(index_dir / REFERENCE_FILE)
        _sync_names(index_dir)

    def check(self, spec: IndexSpec, params: MilvusParams, rows: int) -> None:
        """Raises IndexMismatch with the field that differs."""
        expected = {
            "items": (self.rows, rows),
            "dimension": (self.dimension, spec.dimension),
            "metric": (self.metric, spec.metric),
            "index_type": (self.index_type, params.index_type),
        }
        for name, (found, wanted) in expected.items():
            if found != wanted:
                raise IndexMismatch(f"the index has {name} {found}, expected {wanted}", field=name)


def read_reference(index_dir: Path) -> Reference:
    """Raises IndexUnreadable."""
    file = index_dir / REFERENCE_FILE
    try:
        return Reference.model_validate_json(file.read_bytes())
    except OSError as error:
        raise IndexUnreadable(f"{file.name}: {error.strerror}") from error
    except ValidationError as error:
        raise IndexUnreadable(f"{file.name} does not say which collection the index is") from error


def references_in(index_dir: Path) -> list[Reference]:
    """Of an index in any number of partitions; none in a folder of another engine, or where there is no folder.

    Raises IndexUnreadable.
    """
    return [read_reference(file.parent) for file in sorted(index_dir.rglob(REFERENCE_FILE))]


def names_in(index_dir: Path) -> frozenset[str]:
    """The collections of an index, each with its instance. Raises IndexUnreadable."""
    return frozenset(f"{each.instance}/{each.collection}" for each in references_in(index_dir))


def _sync_names(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
