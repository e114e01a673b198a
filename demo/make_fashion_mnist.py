"""Makes fashion-mnist-64.parquet from the files of the Debian package `dataset-fashion-mnist`.

    apt-get install dataset-fashion-mnist
    python demo/make_fashion_mnist.py

The 10,000 test images (28 x 28 grey values) become vectors of 64 dimensions by a principal component analysis of
these very images. The outcome does not depend on chance; the last bits may differ with another LAPACK.
"""

from __future__ import annotations

import argparse
import gzip
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

DATASET = Path("/usr/share/datasets/fashion-mnist")
OUTPUT = Path(__file__).with_name("fashion-mnist-64.parquet")
DIMENSION = 64
IMAGES_HEADER_BYTES = 16
LABELS_HEADER_BYTES = 8
PIXELS = 28 * 28
WHITE = 255.0
CATEGORIES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


def main() -> None:
    """Reads the images, reduces them, writes the file and prints what was kept."""
    arguments = _arguments()
    images, labels = read_images(arguments.dataset), read_labels(arguments.dataset)
    vectors, explained = reduce(images, DIMENSION)
    write(arguments.output, vectors, labels)
    size = arguments.output.stat().st_size
    print(f"{len(vectors)} items x {DIMENSION}, explained variance {explained:.4f}, {size} bytes: {arguments.output}")


def read_images(dataset: Path) -> NDArray[np.float64]:
    """Grey values from 0 to 1, float64 [10000, 784]."""
    payload = gzip.decompress((dataset / "t10k-images-idx3-ubyte.gz").read_bytes())
    return np.frombuffer(payload, np.uint8, offset=IMAGES_HEADER_BYTES).reshape(-1, PIXELS) / WHITE


def read_labels(dataset: Path) -> NDArray[np.uint8]:
    """Numbers of categories, uint8 [10000]."""
    payload = gzip.decompress((dataset / "t10k-labels-idx1-ubyte.gz").read_bytes())
    return np.frombuffer(payload, np.uint8, offset=LABELS_HEADER_BYTES)


def reduce(images: NDArray[np.float64], dimension: int) -> tuple[NDArray[np.float64], float]:
    """Principal components [n, dimension] and the share of the variance that they explain."""
    centred = images - images.mean(axis=0)
    _, strengths, axes = np.linalg.svd(centred, full_matrices=False)
    axes = axes[:dimension]
    # An axis and its opposite are equally good; the greatest part of each points up, so that runs agree.
    greatest = np.abs(axes).argmax(axis=1)
    axes *= np.sign(axes[np.arange(dimension), greatest])[:, np.newaxis]
    variances = strengths**2
    return centred @ axes.T, float(variances[:dimension].sum() / variances.sum())


def write(path: Path, vectors: NDArray[np.float64], labels: NDArray[np.uint8]) -> None:
    """Columns id (int64), vector (64 x float16), category (string)."""
    flat = pa.array(vectors.astype(np.float16).reshape(-1))
    columns = {
        "id": pa.array(np.arange(len(vectors), dtype=np.int64)),
        "vector": pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1]),
        "category": pa.array([CATEGORIES[label] for label in labels]),
    }
    pq.write_table(pa.table(columns), path, compression="zstd", use_dictionary=["category"])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Make the demo's drop from Fashion-MNIST.")
    parser.add_argument("--dataset", type=Path, default=DATASET, help="folder of the Debian package's files")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    return parser.parse_args()


if __name__ == "__main__":
    main()
