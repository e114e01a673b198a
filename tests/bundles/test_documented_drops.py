"""The examples in docs/tenants/drops.md are read as the page says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from bundles.drop import inspect
from bundles.errors import DropError
from bundles.report import REASONS
from bundles.schema import ImportSchema
from tests.bundles.making import imported

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "tenants" / "drops.md").read_text()
EXAMPLES = re.findall(r"```(python|csv|jsonl|txt)\n(.*?)```", PAGE, re.DOTALL)


def test_the_page_has_an_example_of_each_format() -> None:
    assert [kind for kind, _ in EXAMPLES] == ["python", "python", "csv", "csv", "jsonl", "txt"]


@pytest.mark.parametrize("number", range(6))
def test_each_example_is_inspected_and_imported(drop: Path, out: Path, number: int) -> None:
    kind, text = EXAMPLES[number]
    if kind == "python":
        subprocess.run([sys.executable, "-c", text], cwd=drop, check=True)
    else:
        (drop / f"items.{kind}").write_text(text)
    found = inspect(drop.parent)
    attributes = () if found.format in ("npy", "txt") else (("genre", "list<string>"), ("year", "int64"))
    schema = ImportSchema("int64", found.suggested_schema["dimension"], "ip", attributes=attributes)
    made = imported(drop, out, schema)
    assert (made.ids, made.report.bad_rows, made.vectors.tolist()[1]) == ([1, 2], 0, [1.0, 0.0])
    if attributes:
        assert made.attributes == {"genre": [["drama", "war"], ["comedy"]], "year": [1979, None]}


def test_every_reason_is_on_the_page() -> None:
    """Of rows as the report counts them, of drops as their errors' docstring lists them."""
    of_drops = re.findall(r"drop\.[a-z_]+", DropError.__doc__ or "")
    assert len(of_drops) > 10
    assert [reason for reason in (*REASONS[1:], *of_drops) if f"`{reason}`" not in PAGE] == []
