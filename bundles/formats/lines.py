"""Lines of a text file that may be anybody's: of bounded length, blank ones left out, gathered into batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import BinaryIO

from bundles.batches import BatchLimits

# Room for the widest vector and a few long attributes; what is read of a line takes several times its bytes.
LINE_BYTES_MAX = 4 << 20
# What was read of the lines of a batch may take this many times their bytes.
BYTES_OF_A_READ_BYTE = 4
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
TOO_LONG = b""


def read_lines(file: BinaryIO) -> Iterator[bytes]:
    """Each line that is not blank, without the blanks around it; TOO_LONG for one of more than LINE_BYTES_MAX."""
    line = file.readline(LINE_BYTES_MAX).removeprefix(BYTE_ORDER_MARK)
    while line:
        if len(line) >= LINE_BYTES_MAX and not line.endswith(b"\n"):
            _skip_rest(file)
            yield TOO_LONG
        elif stripped := line.strip():
            yield stripped
        line = file.readline(LINE_BYTES_MAX)


def batches(lines: Iterable[bytes], limits: BatchLimits, row_bytes: int) -> Iterator[list[bytes]]:
    """Consecutive lines within the limits; `row_bytes` is what becomes of a line whatever its length."""
    rows_max, bytes_max = limits.batch_rows(row_bytes), limits.bytes // BYTES_OF_A_READ_BYTE
    batch: list[bytes] = []
    size = 0
    for line in lines:
        if batch and (len(batch) >= rows_max or size + len(line) > bytes_max):
            yield batch
            batch, size = [], 0
        batch.append(line)
        size += len(line)
    if batch:
        yield batch


def _skip_rest(file: BinaryIO) -> None:
    part = file.readline(LINE_BYTES_MAX)
    while part and not part.endswith(b"\n"):
        part = file.readline(LINE_BYTES_MAX)
