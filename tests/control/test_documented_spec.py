"""docs/tenants/service.md says of a spec what the catalog does with one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from catalog.spec import NOT_YET, parse_spec

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "tenants" / "service.md").read_text()
LEAST, WHOLE = (yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL))


def test_the_short_spec_and_the_whole_one_are_the_same() -> None:
    assert parse_spec(LEAST) == parse_spec(WHOLE)


def test_every_field_is_either_in_the_whole_spec_or_among_those_that_are_not_available() -> None:
    known = {path for path in _paths(parse_spec(LEAST).stored()) if not path.startswith("engine.params.")}
    written = {path for path in _paths(WHOLE) if path != "name"}
    section = PAGE.partition("## Not available in this release")[2].partition("\n## ")[0]
    not_yet = set(re.findall(r"^\| `([a-z_.]+)` \|", section, re.MULTILINE))
    assert not_yet == set(NOT_YET)
    assert written | not_yet == known
    assert not written & not_yet


def _paths(value: dict[str, Any], above: str = "") -> set[str]:
    found: set[str] = set()
    for name, part in value.items():
        found |= _paths(part, f"{above}{name}.") if isinstance(part, dict) and part else {f"{above}{name}"}
    return found
