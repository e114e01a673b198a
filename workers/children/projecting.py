"""A projection of a version's items: a random sample of them on the plane that shows most of how they differ.

The plane is that of the first two principal components of the sample (PCA). It is linear: it turns the vectors and
looks at them from one side, so that distances on it are never longer than the true ones, and items that are far apart
may lie on each other. `shown` says how much of the sample's variance the plane shows, which is little where
dimensions are many and equal. The same items give the same projection.

Not in charge of colours and drawing, nor of where the projection is kept.
"""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bundles import catalogue, layout
from bundles.batches import Float32, Int64

log = logging.getLogger(__name__)

Float64 = NDArray[np.float64]

FILE = "projection.json"
ITEMS_MAX = 2_000
# A projection of more has fewer items: people load it, and a row of the database holds it.
BYTES_MAX = 512 * 1024
ATTRIBUTES_MAX = 20
TEXT_CHARACTERS_MAX = 80
LIST_ENTRIES_MAX = 8
# Of coordinates, which reach from -1 to 1; more are not seen.
DECIMALS = 4
SEED = 7


class Plane(NamedTuple):
    """Two axes in the space of the vectors: a vector v lies at ((v - mean) @ axes.T) / reach.

    `mean` [d], `axes` [2, d] of length 1 (0 where there is no such direction); `reach` is the greatest coordinate of
    the sample, so that it lies within -1 to 1; `shown` [2] the share of the variance along each axis.
    """

    mean: Float64
    axes: Float64
    reach: float
    shown: Float64

    def place(self, vectors: NDArray[Any]) -> Float64:
        """Where these [n, d] lie: [n, 2]."""
        placed: Float64 = ((vectors.astype(np.float64) - self.mean) @ self.axes.T) / self.reach
        return placed


def write(folder: Path, rows: int, out_dir: Path) -> dict[str, Any]:
    """Writes the projection of the first `rows` items that an import or an artifact holds to `out_dir`/FILE.

    Returns what a report says of it: {"items", "of", "shown"}, or {"note"} with the reason why there is none. A build
    goes on without a projection, whatever the reason.
    """
    try:
        projection = project(folder, rows)
        if projection is None:
            return {"note": "There is no item to show."}
        unfinished = out_dir / f".{FILE}"
        unfinished.write_text(json.dumps(projection, allow_nan=False))
        unfinished.rename(out_dir / FILE)
    except Exception as error:
        log.exception("There is no projection of the items in %s.", folder)
        return {"note": f"The projection of the items could not be made: {error or type(error).__name__}."}
    return {name: projection["sample"][name] for name in ("items", "of", "shown")}


def project(folder: Path, rows: int) -> dict[str, Any] | None:
    """{"sample": what a page draws, "plane": what places other vectors on it}; None without items.

    Reads ITEMS_MAX rows of the mapped arrays, however many there are.
    """
    sampled = sample_rows(rows)
    if not len(sampled):
        return None
    vectors: Float32 = np.array(catalogue.array(folder / layout.VECTORS)[sampled])
    plane = principal_plane(vectors)
    places = plane.place(vectors).round(DECIMALS)
    columns = {"ids": _ids(folder, sampled), "x": places[:, 0].tolist(), "y": places[:, 1].tolist()}
    sample = {"items": len(sampled), "of": rows, "shown": plane.shown.round(DECIMALS).tolist(), **columns}
    sample["attributes"] = _attributes(folder, sampled)
    while len(json.dumps(sample)) > BYTES_MAX and sample["items"] > 1:
        sample = _thinned(sample)
    axes = {"mean": plane.mean.tolist(), "axes": plane.axes.tolist(), "reach": plane.reach}
    return {"sample": sample, "plane": axes}


def sample_rows(rows: int, most: int = ITEMS_MAX) -> Int64:
    """Rows [n] to show, rising; always the same ones of so many."""
    if rows <= most:
        return np.arange(rows)
    return np.sort(np.random.default_rng(SEED).choice(rows, most, replace=False, shuffle=False))


def principal_plane(vectors: NDArray[Any]) -> Plane:
    """The plane of the first two principal components of `vectors` [n, d], n at least 1.

    By the smaller of the two matrices of products, so that long vectors cost no more than many items.
    """
    centred = vectors.astype(np.float64)
    mean = centred.mean(axis=0)
    centred -= mean
    items, dimension = centred.shape
    if dimension <= items:
        variances, directions = np.linalg.eigh(centred.T @ centred)
        axes = directions.T[::-1][:2]
    else:
        variances, directions = np.linalg.eigh(centred @ centred.T)
        axes = directions.T[::-1][:2] @ centred
        lengths = np.linalg.norm(axes, axis=1, keepdims=True)
        axes = np.divide(axes, lengths, out=np.zeros_like(axes), where=lengths > 0)
    found = np.maximum(variances[::-1], 0.0)
    total = found.sum()
    axes = _padded(_signed(axes) * (found[:2] > total * np.finfo(np.float64).eps)[:, np.newaxis])
    shown = _padded(found[:2] / total if total > 0 else np.zeros(len(found[:2])))
    reach = float(np.abs(centred @ axes.T).max()) or 1.0
    return Plane(mean, axes, reach, shown)


def _signed(axes: Float64) -> Float64:
    """Each axis or its opposite, so that its greatest number is positive: the mathematics leaves that open."""
    greatest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, np.newaxis], axis=1)
    signed: Float64 = axes * np.where(greatest < 0, -1.0, 1.0)
    return signed


def _padded(values: Float64) -> Float64:
    """With zeros as a second one, where items or dimensions give but one axis."""
    return np.concatenate([values, np.zeros((2 - len(values), *values.shape[1:]))])


def _thinned(sample: dict[str, Any]) -> dict[str, Any]:
    """Every other item of it, the first one included."""
    kept: dict[str, Any] = {name: sample[name][::2] for name in ("ids", "x", "y")}
    attributes = [{**column, "values": column["values"][::2]} for column in sample["attributes"]]
    return {**sample, **kept, "items": len(kept["ids"]), "attributes": attributes}


def _ids(folder: Path, rows: Int64) -> list[str]:
    """As texts: a browser's numbers do not hold every int64."""
    if (folder / layout.IDS_ARROW).is_file():
        texts = catalogue.table(folder / layout.IDS_ARROW).column(0)
        return [texts[row].as_py() for row in rows.tolist()]
    return [str(number) for number in catalogue.array(folder / layout.IDS_NPY)[rows].tolist()]


def _attributes(folder: Path, rows: Int64) -> list[dict[str, Any]]:
    """A column of plain values for each of the first attributes; its name beside it: a JSON object has no order.

    Value by value, because a list may be as long as it is allowed to be in every row.
    """
    if not (folder / layout.ATTRIBUTES).is_file():
        return []
    found = catalogue.table(folder / layout.ATTRIBUTES)
    return [
        {"name": name, "values": [_plain(column[row]) for row in rows.tolist()]}
        for name, column in zip(found.column_names[:ATTRIBUTES_MAX], found.columns, strict=False)
    ]


def _plain(scalar: pa.Scalar) -> Any:
    """A value as JSON has it, cut to what a page has room for; what is no number there is null."""
    if not scalar.is_valid:
        return None
    if pa.types.is_large_list(scalar.type):
        return [text[:TEXT_CHARACTERS_MAX] for text in scalar.values[:LIST_ENTRIES_MAX].to_pylist()]
    value = scalar.as_py()
    if isinstance(value, str):
        return value[:TEXT_CHARACTERS_MAX]
    return None if isinstance(value, float) and not math.isfinite(value) else value
