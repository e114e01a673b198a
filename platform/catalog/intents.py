"""From what somebody wants, and what lies in their source, to the spec that is proposed to them.

Pure functions: a proposal is only what a person may change, and `catalog.spec` judges the result like any other spec.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from catalog import blocks
from engines import registry

# What matters most, and what it is to mean; the first is what nobody chooses.
BALANCE, RECALL, SPEED, MEMORY = "balance", "recall", "speed", "memory"
MATTERS: Mapping[str, str] = {
    BALANCE: "A balance of them: recall of at least 0.98, as fast as that allows",
    RECALL: "Recall: at least 0.99, at the price of slower searches",
    SPEED: "Speed: recall of 0.95 is enough, searches take less time",
    MEMORY: "Memory: vectors are kept small where there are many, and the version before stays on disk",
}
RECALL_TARGETS: Mapping[str, float] = {RECALL: 0.99, SPEED: 0.95}

DEFAULT_FILES = list(blocks.Source.model_fields["files"].default)
DEFAULT_COLUMNS = {"id": "id", "vector": "vector"}


@dataclass(frozen=True)
class Intent:
    """What is asked first. `items` and `dimension` are None while nobody knows; `files`: patterns, none for the usual.

    `matters` is a key of MATTERS.
    """

    name: str
    uri: str
    items: int | None = None
    dimension: int | None = None
    matters: str = BALANCE
    files: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "files": list(self.files)}

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Intent:
        return cls(**{**told, "files": tuple(told["files"])})

    def asks_of_the_same_source(self, other: Intent) -> bool:
        return (self.uri, self.files) == (other.uri, other.files)


def first_spec(intent: Intent) -> dict[str, Any]:
    """What can be said before the source was looked into."""
    source: dict[str, Any] = {"uri": intent.uri}
    if intent.files:
        source["files"] = list(intent.files)
    schema: dict[str, Any] = {"id_type": "int64", "metric": "ip", "attributes": []}
    if intent.dimension:
        schema["dimension"] = intent.dimension
    return with_intent({"name": intent.name, "schema": schema, "source": source}, intent, intent.items)


def proposed_spec(intent: Intent, inspection: Mapping[str, Any]) -> dict[str, Any]:
    """With what the drop suggests: what it is called there, and what it is."""
    schema: dict[str, Any] = {
        **inspection["suggested_schema"],
        "attributes": _allowed(inspection["suggested_schema"]["attributes"]),
    }
    if not schema["normalize"]:
        del schema["normalize"]
    source: dict[str, Any] = {"uri": intent.uri}
    files = list(intent.files) or inspection["source_files"]
    if not set(files) <= set(DEFAULT_FILES):
        source["files"] = files
    if inspection["columns"] != DEFAULT_COLUMNS:
        source["columns"] = inspection["columns"]
    return with_intent({"name": intent.name, "schema": schema, "source": source}, intent, items_of(intent, inspection))


def with_intent(spec: Mapping[str, Any], intent: Intent, items: int | None) -> dict[str, Any]:
    """`spec` with name, engine, search and versions as the intent has them, whatever they were before."""
    found = {key: value for key, value in spec.items() if key not in ("engine", "search", "versions")}
    found["name"] = intent.name
    if intent.matters in RECALL_TARGETS:
        found["search"] = {"recall_target": RECALL_TARGETS[intent.matters]}
    if intent.matters == MEMORY:
        found["versions"] = {"standby": "cold"}
        if compact := _compact(spec, items):
            found["engine"] = {"name": compact[0], "params": compact[1]}
    return found


def with_blocks(spec: Mapping[str, Any], changed: Mapping[str, Any]) -> dict[str, Any]:
    """`spec` with these blocks in place of its own, an empty one for the defaults."""
    return {name: block for name, block in {**spec, **changed}.items() if block != {}}


def items_of(intent: Intent, inspection: Mapping[str, Any] | None) -> int | None:
    """How many items to reckon with: what somebody expects, or more if the drop holds more."""
    known = [count for count in (intent.items, (inspection or {}).get("rows")) if count]
    return max(known, default=None)


def remarks(intent: Intent, inspection: Mapping[str, Any]) -> list[str]:
    """Where what was said and what was found differ, for people."""
    suggested = inspection["suggested_schema"]
    said = []
    if intent.dimension and intent.dimension != suggested["dimension"]:
        said.append(f"You said {intent.dimension} dimensions; the vectors in the drop have {suggested['dimension']}.")
    allowed = {each["name"] for each in _allowed(suggested["attributes"])}
    said += [
        f"Column `{each['name']}` is left out: {blocks.attribute_name_fault(each['name'])}"
        for each in suggested["attributes"]
        if each["name"] not in allowed
    ]
    return [*said, *inspection["notes"]]


def _allowed(attributes: list[dict[str, str]]) -> list[dict[str, str]]:
    return [each for each in attributes if not blocks.attribute_name_fault(each["name"])]


def _compact(spec: Mapping[str, Any], items: int | None) -> tuple[str, dict[str, object]] | None:
    dimension = spec["schema"].get("dimension")
    return registry.compact(items, dimension) if items and dimension else None
