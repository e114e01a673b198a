"""The only file of an index: which collection of which instance it is."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from engines.base import IndexSpec
from engines.description import Metric
from engines.errors import IndexMismatch, IndexUnreadable
from engines.milvus.params import IndexType, MilvusParams

REFERENCE_FILE = "collection.json"
FORMAT = 1


class Reference(BaseModel):
    """Where an index is and what it is; what a spec or the vectors say has to agree with it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = Field(default=FORMAT, ge=FORMAT, le=FORMAT)
    instance: str
    collection: str = Field(min_length=1)
    index_type: IndexType
    metric: Metric
    dimension: int = Field(ge=1)
    rows: int = Field(ge=1)

    def write(self, index_dir: Path) -> None:
        (index_dir / REFERENCE_FILE).write_text(self.model_dump_json(indent=1) + "\n")

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
