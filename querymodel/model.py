"""An opened query model: features of some queries become their vectors, or each query's own error.

    model.onnx        the drop's file, as it was
    vocabulary-0/     of the first file that an input names as its `vocab`, and so on (see `vocabulary`)

Queries are computed together where the model lets them; whatever befalls a batch is found by asking one by one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from querymodel.errors import FeatureInvalid, ModelFailed, ModelRefused, ModelTooSlow, QueryModelError, shown_name
from querymodel.features import InputReader, check_names, fits, stack_lengths, stack_values
from querymodel.files import MODEL_FILE, vocabulary_folder
from querymodel.session import Session, Slot, Tensor
from querymodel.spec import Features, ModelInput, ModelSpec, Value
from querymodel.vocabulary import Vocabulary

# The runtime's names of types that an input of the schema may have in the model, the schema's own first.
TYPES_OF: Mapping[str, tuple[str, ...]] = {
    "int64": ("int64", "int32"),
    "float32": ("float", "double"),
    "string": ("string",),
    "bool": ("bool",),
}
DTYPES: Mapping[str, np.dtype[Any]] = {
    "int64": np.dtype(np.int64),
    "int32": np.dtype(np.int32),
    "float": np.dtype(np.float32),
    "double": np.dtype(np.float64),
    "string": np.dtype(object),
    "bool": np.dtype(np.bool_),
}
OUTPUT_TYPES = ("float", "double", "float16")

Floats = NDArray[np.float32]
Values = list[list[Value]]


@dataclass(frozen=True, slots=True)
class _Fed:
    """An input of the model, and which values of a query it is fed with."""

    slot: Slot
    place: int
    described: ModelInput
    is_length: bool

    def tensor(self, rows: Sequence[Values]) -> Tensor:
        values = [row[self.place] for row in rows]
        dtype, rank = DTYPES[self.slot.type], len(self.slot.shape)
        if self.is_length:
            return stack_lengths(values, dtype, rank)
        return stack_values(self.described, values, dtype, rank)


class QueryModel:
    """Threads may use it at once."""

    def __init__(self, spec: ModelSpec, session: Session, vocabularies: Mapping[str, Vocabulary]) -> None:
        """Raises ModelRefused drop.model_shape when the model has other inputs or outputs than the spec says."""
        self.spec = spec
        self.vocabularies = vocabularies
        self._session = session
        self._readers = [InputReader(each, vocabularies.get(each.vocab)) for each in spec.inputs]
        self._known = frozenset(each.name for each in spec.inputs)
        self._fed = list(_fed(spec, session.inputs))
        _check_output(spec, session.outputs)
        # Queries in one run; the build finds out how many may be.
        self.batch_max = 1

    @classmethod
    def open(cls, folder: Path, spec: ModelSpec, *, seconds_max: float, batch_max: int = 1) -> QueryModel:
        """The model in `folder`; a run takes at most `seconds_max`. Raises ModelRefused."""
        try:
            payload = (folder / MODEL_FILE).read_bytes()
            vocabularies = {
                name: Vocabulary.open(vocabulary_folder(folder, number))
                for number, name in enumerate(spec.vocabularies)
            }
        except (OSError, ValueError, pa.ArrowException) as error:
            message = f"A file of the query model is damaged: {error}."
            raise ModelRefused("drop.model_unreadable", message) from error
        model = cls(spec, Session(payload, seconds_max), vocabularies)
        model.batch_max = batch_max if model.batches else 1
        return model

    @property
    def batches(self) -> bool:
        """Whether the first axis of every input is left open, so that queries can be computed together."""
        return all(each.slot.shape[0] is None for each in self._fed)

    def encode(
        self, asked: Sequence[Features], is_late: Callable[[int], bool] = lambda _: False
    ) -> list[Floats | QueryModelError | None]:
        """For each query its vectors, float32 [vectors, dimension] and finite, or its error, in order.

        Between runs `is_late` is asked by a query's place; such a query is left out and has None.
        """
        found: list[Floats | QueryModelError | None] = [None] * len(asked)
        ready: list[tuple[int, Values]] = []
        for place, features in enumerate(asked):
            try:
                ready.append((place, self._read(features)))
            except FeatureInvalid as error:
                found[place] = error
        for group in _groups(ready, self.batch_max):
            self._encode_group([each for each in group if not is_late(each[0])], found, is_late)
        return found

    def close(self) -> None:
        self._session.close()

    def _read(self, features: Features) -> Values:
        """Raises FeatureInvalid."""
        check_names(features, self._known)
        values = [reader.read(features) for reader in self._readers]
        for fed in self._fed:
            if not fed.is_length and not fits(values[fed.place], DTYPES[fed.slot.type]):
                name = fed.described.name
                message = f"the feature {shown_name(name)} holds a number that the query model's {fed.slot.type} cannot"
                raise FeatureInvalid(name, "FEATURE_VALUE_INVALID", message)
        return values

    def _encode_group(
        self,
        group: list[tuple[int, Values]],
        found: list[Floats | QueryModelError | None],
        is_late: Callable[[int], bool],
    ) -> None:
        if not group:
            return
        try:
            output = self._output([values for _, values in group])
        except (ModelFailed, ModelTooSlow) as error:
            if len(group) == 1:
                found[group[0][0]] = error
                return
            for each in group:
                self._encode_group([] if is_late(each[0]) else [each], found, is_late)
            return
        for (place, _), vectors in zip(group, output, strict=True):
            # Finite squares are of finite numbers; where they overflow, each number is looked at.
            finite = math.isfinite(np.vdot(vectors, vectors)) or np.isfinite(vectors).all()
            found[place] = vectors if finite else _not_finite()

    def _output(self, rows: Sequence[Values]) -> Floats:
        """float32 [B, vectors, dimension]. Raises ModelFailed, ModelTooSlow."""
        output = self._session.run({fed.slot.name: fed.tensor(rows) for fed in self._fed})
        spec = self.spec
        shapes: list[tuple[int, ...]] = [(len(rows), spec.vectors, spec.dimension)]
        if spec.vectors == 1:
            shapes.append((len(rows), spec.dimension))
        if output.shape not in shapes or output.dtype.kind != "f":
            message = f"the query model gave {shape_text(output.shape)} for these features, not {shape_text(shapes[0])}"
            raise ModelFailed("MODEL_SHAPE_WRONG", message)
        if output.dtype != np.float32:
            with np.errstate(over="ignore"):
                output = output.astype(np.float32)
        return output.reshape(shapes[0])


def shape_text(shape: Sequence[int | str | None]) -> str:
    """A shape as people write it."""
    return f"[{', '.join('?' if size is None else str(size) for size in shape)}]"


def _groups(ready: list[tuple[int, Values]], size: int) -> Iterator[list[tuple[int, Values]]]:
    for start in range(0, len(ready), size):
        yield ready[start : start + size]


def _not_finite() -> ModelFailed:
    return ModelFailed("MODEL_NOT_FINITE", "the query model gave NaN or an infinite value for these features")


def _fed(spec: ModelSpec, slots: Sequence[Slot]) -> Iterator[_Fed]:
    """Which input is fed with what. Raises ModelRefused drop.model_shape."""
    wanted: dict[str, tuple[int, ModelInput, bool]] = {}
    for place, described in enumerate(spec.inputs):
        wanted[described.name] = (place, described, False)
        if described.length_input:
            wanted[described.length_input] = (place, described, True)
    names = [slot.name for slot in slots]
    missing, unknown = [name for name in wanted if name not in names], [name for name in names if name not in wanted]
    if missing or unknown:
        objections = [f"has no input {shown_name(name)}" for name in missing]
        objections += [f"needs an input {shown_name(name)}, which the schema does not have" for name in unknown]
        raise _misshapen("; it ".join(objections))
    for slot in slots:
        place, described, is_length = wanted[slot.name]
        _check_slot(slot, described, is_length)
        yield _Fed(slot, place, described, is_length)


def _check_slot(slot: Slot, described: ModelInput, is_length: bool) -> None:
    kind = "int64" if is_length else described.tensor_type
    if slot.type not in TYPES_OF[kind]:
        source = "a length" if is_length else f"{described.type}{' with a vocabulary' if described.vocab else ''}"
        raise _misshapen(f"takes {slot.type} as {shown_name(slot.name)}, and the schema has {source}")
    tail = () if is_length or described.max_length is None else (described.max_length,)
    shapes: list[tuple[int | None, ...]] = [(None, *tail)] if tail else [(None,), (None, 1)]
    if not any(_same_shape(slot.shape, (slot.shape[:1] or (0,)) + shape[1:]) for shape in shapes):
        wanted = " or ".join(shape_text(("B", *shape[1:])) for shape in shapes)
        message = f"takes {shown_name(slot.name)} as {shape_text(slot.shape)}; it must be {wanted}, B the queries"
        raise _misshapen(message)
    if slot.shape[0] not in (None, 1):
        message = f"takes {slot.shape[0]} queries at once as {shown_name(slot.name)}; leave the first axis open"
        raise _misshapen(message)


def _check_output(spec: ModelSpec, slots: Sequence[Slot]) -> None:
    """What is not fixed in the model is judged when it runs."""
    if len(slots) != 1:
        raise _misshapen(
            f"has {len(slots)} outputs ({', '.join(shown_name(each.name) for each in slots)}); one is read"
        )
    slot = slots[0]
    if slot.type not in OUTPUT_TYPES:
        raise _misshapen(f"gives {slot.type}; vectors are float")
    batch = slot.shape[:1] or (0,)
    shapes: list[tuple[int | None, ...]] = [(*batch, spec.vectors, spec.dimension)]
    if spec.vectors == 1:
        shapes.append((*batch, spec.dimension))
    # An exporter may leave out what the output looks like.
    if slot.shape and not any(_same_shape(slot.shape, shape) for shape in shapes):
        wanted = f"[B, {spec.vectors}, {spec.dimension}]"
        wanted = f"[B, {spec.dimension}]" if spec.vectors == 1 else wanted
        message = f"gives {shape_text(slot.shape)}; the schema says {wanted}, B the queries"
        raise _misshapen(message)


def _same_shape(found: Sequence[int | None], wanted: Sequence[int | None]) -> bool:
    if len(found) != len(wanted):
        return False
    return all(one == other or one is None or other is None for one, other in zip(found, wanted, strict=True))


def _misshapen(what: str) -> ModelRefused:
    return ModelRefused("drop.model_shape", f"The query model {what}.")
