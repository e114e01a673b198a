"""The block `schema.query_model` of a service, as far as computing needs it. The catalog has checked it long before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

# Of one feature in one query, before it is cut to `max_length`.
VALUES_MAX = 10_000
TEXT_BYTES_MAX = 4_096

InputType = Literal["int64", "float32", "string", "bool"]
Truncate = Literal["keep_last", "keep_first", "fail"]
Kind = Literal["ints", "floats", "strings"]
Value = int | float | str | bool

# Which list of a `Feature` carries which type of input; a bool travels as 0 or 1.
KIND_OF: Mapping[InputType, Kind] = {"int64": "ints", "float32": "floats", "string": "strings", "bool": "ints"}
PAD_OF: Mapping[InputType, Value] = {"int64": 0, "float32": 0.0, "string": "", "bool": False}


class Feature(NamedTuple):
    """One feature of one query as it was sent: which list, and its values. `kind` is empty when nothing was set."""

    kind: Kind | Literal[""]
    values: list[Any]


Features = Mapping[str, Feature]


@dataclass(frozen=True, slots=True)
class ModelInput:
    """One input of the model.

    `max_length` None: one value for each query, tensor [B] or [B, 1]. Else a list, tensor [B, max_length], filled up at
    its end with `pad`; `length_input`, when not empty, is the model's input for its length without the padding. With a
    `vocab` the tensor holds what the vocabulary says of each value; `unknown` is "fail", "drop", or the number for
    values that are not in it.
    """

    name: str
    type: InputType
    max_length: int | None = None
    pad: Value = 0
    truncate: Truncate = "keep_last"
    length_input: str = ""
    vocab: str = ""
    unknown: Literal["fail", "drop"] | int = "fail"

    @property
    def kind(self) -> Kind:
        return KIND_OF[self.type]

    @property
    def tensor_type(self) -> InputType:
        """What the model gets: numbers, where there is a vocabulary."""
        return "int64" if self.vocab else self.type

    @classmethod
    def of(cls, block: Mapping[str, Any]) -> ModelInput:
        """From one entry of `inputs`; what it leaves out or gives as null has its default."""
        given = {name: value for name, value in block.items() if value is not None}
        tensor_type: InputType = "int64" if given.get("vocab") else given["type"]
        return cls(**{"pad": PAD_OF[tensor_type], **given})


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """`vectors` query vectors of `dimension` for each query, computed from `inputs`."""

    vectors: int
    dimension: int
    inputs: tuple[ModelInput, ...]

    @classmethod
    def of(cls, schema: Mapping[str, Any]) -> ModelSpec | None:
        """From a service's `schema` block; None when the service has no query model."""
        block = schema.get("query_model")
        if block is None:
            return None
        return cls(block["vectors"], schema["dimension"], tuple(ModelInput.of(each) for each in block["inputs"]))

    @property
    def vocabularies(self) -> tuple[str, ...]:
        """The names of the drop's files with vocabularies, each once, in the order of the inputs."""
        return tuple(dict.fromkeys(each.vocab for each in self.inputs if each.vocab))

    def vocabulary_type(self, name: str) -> InputType:
        """The type of the values of a vocabulary: that of the inputs that name it."""
        return next(each.type for each in self.inputs if each.vocab == name)


def vocabularies_of(schema: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The files with vocabularies that the query model of a `schema` block names; None when it has no query model."""
    spec = ModelSpec.of(schema)
    return spec.vocabularies if spec else None
