"""The block `schema.query_model` of a service's spec: which features the drop's model takes, and how.

Checks of several fields stand on the later field, as in `catalog.blocks`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from catalog.block import Block

VECTORS_MAX = 64
INPUTS_MAX = 100
LENGTH_MAX = 10_000
NAME_CHARACTERS_MAX = 128
FILE_CHARACTERS_MAX = 512
# Vocabularies' numbers and pads travel as int64.
NUMBER_MAX = 2**31 - 1

InputType = Literal["int64", "float32", "string", "bool"]
Pad = bool | int | float | str


def _check_input_name(name: str) -> str:
    if not name.isprintable() or not name.strip():
        raise ValueError("An input has the name that it has in the model, and all its characters can be printed.")
    return name


def _check_file(name: str) -> str:
    if not name.isprintable() or any(part in ("", ".", "..") for part in name.split("/")):
        raise ValueError("A vocabulary is a file inside the drop: no leading slash, no `.` or `..` as a part.")
    return name


def _check_unknown(unknown: Any) -> str | int:
    if isinstance(unknown, str) and unknown in ("fail", "drop"):
        return unknown
    if isinstance(unknown, int) and not isinstance(unknown, bool) and 0 <= unknown <= NUMBER_MAX:
        return unknown
    raise ValueError(f"Must be fail, drop, or the index for unknown values, 0 to {NUMBER_MAX}.")


def _is_pad(pad: Any, kind: str) -> bool:
    """Whether `pad` is a value of the type `kind`; of a type that is wrong itself, anything is."""
    match kind:
        case "bool":
            return isinstance(pad, bool)
        case "string":
            return isinstance(pad, str) and len(pad) <= NAME_CHARACTERS_MAX
        case "int64":
            return isinstance(pad, int) and not isinstance(pad, bool) and abs(pad) <= NUMBER_MAX
        case "float32":
            return isinstance(pad, int | float) and not isinstance(pad, bool) and abs(pad) <= NUMBER_MAX
    return True


InputName = Annotated[str, Field(max_length=NAME_CHARACTERS_MAX), AfterValidator(_check_input_name)]
VocabularyFile = Annotated[str, Field(max_length=FILE_CHARACTERS_MAX), AfterValidator(_check_file)]


class ModelInput(Block):
    """One input of the model. With `max_length` a list of values for each query, without one value."""

    name: InputName
    type: InputType
    max_length: int | None = Field(default=None, ge=1, le=LENGTH_MAX)
    truncate: Literal["keep_last", "keep_first", "fail"] = "keep_last"
    # The model's input for the number of values before the padding.
    length_input: InputName | None = None
    # A Parquet file of the drop: `value` and `index`.
    vocab: VocabularyFile | None = None
    # Of any type for pydantic: of a union it would tell what each of its types objects to.
    unknown: Annotated[Any, AfterValidator(_check_unknown)] = "fail"
    # What fills a list up to max_length; null: 0, 0.0, an empty text, false.
    pad: Any = None

    @field_validator("length_input")
    @classmethod
    def _only_lists_have_a_length(cls, length_input: str | None, info: ValidationInfo) -> str | None:
        if length_input is not None and info.data.get("max_length", 0) is None:
            raise ValueError("Only a list has a length: give max_length too.")
        return length_input

    @field_validator("vocab")
    @classmethod
    def _has_values_to_look_up(cls, vocab: str | None, info: ValidationInfo) -> str | None:
        if vocab is not None and info.data.get("type", "int64") not in ("int64", "string"):
            raise ValueError(f"A vocabulary is of int64 or string, not of {info.data['type']}.")
        return vocab

    @field_validator("unknown")
    @classmethod
    def _can_be_done(cls, unknown: str | int, info: ValidationInfo) -> str | int:
        if unknown == "fail":
            return unknown
        if info.data.get("vocab", "") is None:
            raise ValueError("Nothing is unknown without a vocabulary: give vocab too.")
        if unknown == "drop" and info.data.get("max_length", 0) is None:
            raise ValueError("Without its one value the query has none: write fail, or the index for unknown values.")
        return unknown

    @field_validator("pad")
    @classmethod
    def _fits_the_tensor(cls, pad: Any, info: ValidationInfo) -> Pad | None:
        if pad is None:
            return None
        if info.data.get("max_length", 0) is None:
            raise ValueError("Only a list is filled up: give max_length too.")
        kind = "int64" if info.data.get("vocab") else info.data.get("type", "")
        if not _is_pad(pad, kind):
            raise ValueError(f"Must be what the model takes, {kind}, and not beyond {NUMBER_MAX}.")
        checked: Pad = pad
        return checked


class QueryModel(Block):
    """The drop's ONNX model: features of a query in, `vectors` query vectors out."""

    vectors: int = Field(default=1, ge=1, le=VECTORS_MAX)
    inputs: Annotated[tuple[ModelInput, ...], Field(strict=False, max_length=INPUTS_MAX)]

    @field_validator("inputs")
    @classmethod
    def _names_are_unique(cls, inputs: tuple[ModelInput, ...]) -> tuple[ModelInput, ...]:
        # Of a list with faults in it pydantic would say this as well, for what is right of it counts alone.
        if not inputs:
            raise ValueError("Name at least one input.")
        seen: set[str] = set()
        types: dict[str, str] = {}
        for position, each in enumerate(inputs):
            for name in filter(None, (each.name, each.length_input)):
                if name in seen:
                    raise ValueError(f"inputs[{position}] is the second one that feeds the model's input {name}.")
                seen.add(name)
            if each.vocab and types.setdefault(each.vocab, each.type) != each.type:
                raise ValueError(
                    f"inputs[{position}] reads the vocabulary {each.vocab} as another type than one before."
                )
        return inputs
