"""Who touches rows (DESIGN section 7, rules 1 and 3), as far as the code's text shows it.

Seen are calls through a manager, and `save`. A query or a row that was put into a variable before it writes is not, nor
what goes through a related manager; a review has to.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture.test_layout import ROOT, python_files

WRITES = {"create", "bulk_create", "bulk_update", "get_or_create", "update_or_create", "update", "delete", "save"}
# Whatever writes rows; compare-and-set has a home of its own.
WRITERS = ("actions.py", "transitions.py")
# `save` of numpy, and of a model's base class from its own.
OTHERS = {"np", "super"}
NO_ROWS_IN = ("platform/api", "platform/console")


def chain(node: ast.expr) -> list[str]:
    """The names that a call goes through: `Build.objects.filter(pk=1).update()` is Build, objects, filter, update."""
    match node:
        case ast.Call(func=inner):
            return chain(inner)
        case ast.Attribute(value=inner, attr=name):
            return [*chain(inner), name]
        case ast.Name(id=name):
            return [name]
        case ast.Subscript(value=inner):
            return chain(inner)
    return []


def calls(path: Path) -> Iterator[tuple[int, list[str]]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield node.lineno, chain(node.func)


def is_writer(path: Path) -> bool:
    return path.name in WRITERS or "actions" in path.parts


def writes(path: Path) -> list[str]:
    where = path.relative_to(ROOT)
    return [
        f"{where}:{line} {'.'.join(names)}"
        for line, names in calls(path)
        if names and names[-1] in WRITES and ("objects" in names or names[-1] == "save") and names[0] not in OTHERS
    ]


def test_rows_are_written_in_actions_only() -> None:
    found = [
        each for path in python_files("platform", "tenants", "workers") if not is_writer(path) for each in writes(path)
    ]
    assert found == []


def test_the_actions_are_seen_to_write() -> None:
    """Else the test above would hold of nothing."""
    assert len(writes(ROOT / "tenants" / "actions.py")) > 5


@pytest.mark.parametrize("folder", NO_ROWS_IN)
def test_views_ask_selectors_and_never_a_manager(folder: str) -> None:
    used = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in python_files(folder)
        for line, names in calls(path)
        if "objects" in names
    ]
    assert used == []
