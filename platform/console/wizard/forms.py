"""The wizard's forms: shape only. What an intent or a spec may say the catalog decides, and its faults come back to
the fields that they are about."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, cast, get_args

from django import forms

from catalog import blocks
from catalog.intents import BALANCE, DEFAULT_COLUMNS, MATTERS, Intent
from catalog.models import Draft
from catalog.selectors import engine_choices
from common.errors import RecallError
from engines.registry import AUTO

TEXT_CHARACTERS_MAX = 500
ATTRIBUTE_TYPES: tuple[str, ...] = get_args(blocks.AttributeType)
METRICS = [("ip", "inner product (ip)"), ("cosine", "cosine"), ("l2", "squared distance (l2)")]
NOTICES = [("marker", "by itself, when a new drop is complete"), ("manual", "only when somebody asks for it")]

DEFAULT_RECALL = blocks.Search().recall_target
DEFAULT_LIMITS, DEFAULT_REPLICAS = blocks.Limits(), blocks.Replicas()


class WizardForm(forms.Form):
    """A form that knows which of its fields each field of a spec is."""

    # The beginning of a spec's field -> the form's field; the first that fits.
    spec_fields: Mapping[str, str] = {}

    def take(self, error: RecallError) -> list[dict[str, Any]]:
        """Puts each fault beside the field that it is about; returns those that are about no field of this form."""
        left = []
        for fault in error.details or [{"field": error.field, "message": error.message}]:
            path = str(fault.get("field", ""))
            field = next((ours for theirs, ours in self.spec_fields.items() if path.startswith(theirs)), None)
            if field is None:
                left.append(fault)
            elif field in self.fields:
                self.add_error(field, fault["message"])
            else:
                self.add_error(None, f"{path}: {fault['message']}")
        return left


class IntentForm(WizardForm):
    """The first step."""

    spec_fields = {
        "name": "name",
        "source.uri": "uri",
        "source.files": "patterns",
        "items": "items",
        "schema.dimension": "dimension",
        "matters": "matters",
    }

    name = forms.CharField(max_length=63, help_text="Lower case letters, digits and hyphens. Callers use it; it stays.")
    uri = forms.CharField(
        label="Model path",
        max_length=TEXT_CHARACTERS_MAX,
        help_text="Where your training job drops item embeddings, a folder each, such as file:movies/ of your team.",
    )
    items = forms.IntegerField(
        label="How many items",
        required=False,
        min_value=1,
        help_text="In a year or so; for the choice of the engine and the memory. Empty: as many as the drop holds.",
    )
    dimension = forms.IntegerField(
        required=False,
        min_value=1,
        max_value=blocks.DIMENSION_MAX,
        help_text="Numbers in one vector, if you know it; the drop tells.",
    )
    matters = forms.ChoiceField(
        label="What matters most", choices=list(MATTERS.items()), initial=BALANCE, widget=forms.RadioSelect
    )
    patterns = forms.CharField(
        label="Item files",
        required=False,
        max_length=TEXT_CHARACTERS_MAX,
        help_text="Patterns with commas between them, such as emb-*.parquet. Empty: items-* and part-*, as usual.",
    )

    def intent(self) -> Intent:
        data = self.cleaned_data
        found = [pattern.strip() for pattern in data["patterns"].split(",")]
        return Intent(
            name=data["name"],
            uri=data["uri"],
            items=data["items"],
            dimension=data["dimension"],
            matters=data["matters"],
            files=tuple(pattern for pattern in found if pattern),
        )

    @staticmethod
    def initial_of(intent: Intent) -> dict[str, Any]:
        return {**intent.to_dict(), "patterns": ", ".join(intent.files)}


class ColumnRow(NamedTuple):
    """A column of the drop that may be an attribute: its two fields, and what the sample showed of it."""

    name: str
    found: str
    keep: forms.BoundField
    type: forms.BoundField
    seen: Mapping[str, Any] | None


class SchemaForm(WizardForm):
    """The second step: which column is what. Without a drop to read, attributes are typed as lines."""

    spec_fields = {
        "schema.id_type": "id_type",
        "schema.dimension": "dimension",
        "schema.metric": "metric",
        "schema.attributes": "attributes",
        "source.columns.id": "id_column",
        "source.columns.vector": "vector_column",
    }

    id_column = forms.CharField(label="Column of the id", max_length=blocks.NAME_CHARACTERS_MAX)
    id_type = forms.ChoiceField(
        label="Ids are", choices=[("int64", "whole numbers (int64)"), ("string", "text (string)")]
    )
    vector_column = forms.CharField(label="Column of the vector", max_length=blocks.NAME_CHARACTERS_MAX)
    dimension = forms.IntegerField(min_value=1, max_value=blocks.DIMENSION_MAX, help_text="Numbers in one vector.")
    metric = forms.ChoiceField(choices=METRICS, help_text="How your model compares vectors.")
    normalize = forms.BooleanField(required=False, label="Store vectors with length 1")
    attributes = forms.CharField(
        required=False,
        widget=forms.Textarea(attrs={"rows": 3, "placeholder": "genre: list<string>\nyear: int64"}),
        help_text="Optional. One per line, as name: type. Types: " + ", ".join(ATTRIBUTE_TYPES) + ".",
    )

    def __init__(self, data: Any = None, *, draft: Draft) -> None:
        self.inspection: Mapping[str, Any] | None = draft.inspection
        schema, source = draft.spec["schema"], draft.spec["source"]
        self.kept = {each["name"]: each["type"] for each in schema["attributes"]}
        columns = {**DEFAULT_COLUMNS, **source.get("columns", {})}
        lines = "\n".join(f"{name}: {kind}" for name, kind in self.kept.items())
        initial = {**schema, "attributes": lines, "id_column": columns["id"], "vector_column": columns["vector"]}
        super().__init__(data, initial=initial)
        if self.inspection is not None:
            del self.fields["attributes"]
            for position, (name, _) in enumerate(self._columns()):
                self.fields[f"keep_{position}"] = forms.BooleanField(
                    required=False, initial=name in self.kept, label=f"Keep {name}"
                )
                self.fields[f"type_{position}"] = forms.ChoiceField(
                    choices=[(kind, kind) for kind in ATTRIBUTE_TYPES],
                    initial=self.kept.get(name) or self._suggested().get(name, ATTRIBUTE_TYPES[0]),
                    label=f"Type of {name}",
                )

    def rows(self) -> Iterator[ColumnRow]:
        """The columns that may be attributes; none without a drop."""
        seen = {each["name"]: each for each in self.inspection["check"]["attributes"]} if self.inspection else {}
        for position, (name, found) in enumerate(self._columns()):
            yield ColumnRow(name, found, self[f"keep_{position}"], self[f"type_{position}"], seen.get(name))

    def clean_attributes(self) -> list[dict[str, str]]:
        lines = [line.strip() for line in self.cleaned_data["attributes"].splitlines() if line.strip()]
        pairs = [line.partition(":") for line in lines]
        if wrong := [line for line, pair in zip(lines, pairs, strict=True) if not pair[1]]:
            raise forms.ValidationError(f"Write name: type on each line; {wrong[0]!r} has no colon.")
        return [{"name": name.strip(), "type": kind.strip()} for name, _, kind in pairs]

    def blocks(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        """`schema` and `source` for `spec`, with what differs from the defaults."""
        data = self.cleaned_data
        schema = {
            **{key: value for key, value in spec["schema"].items() if key != "normalize"},
            **{key: data[key] for key in ("id_type", "dimension", "metric")},
            "attributes": self._attributes(),
        }
        if data["normalize"]:
            schema["normalize"] = True
        source = {key: value for key, value in spec["source"].items() if key != "columns"}
        columns = {"id": data["id_column"], "vector": data["vector_column"]}
        if columns != DEFAULT_COLUMNS:
            source["columns"] = columns
        return {"schema": schema, "source": source}

    def _attributes(self) -> list[dict[str, str]]:
        data = self.cleaned_data
        if self.inspection is None:
            return cast(list[dict[str, str]], data["attributes"])
        taken = {data["id_column"], data["vector_column"]}
        return [
            {"name": name, "type": data[f"type_{position}"]}
            for position, (name, _) in enumerate(self._columns())
            if data[f"keep_{position}"] and name not in taken
        ]

    def _columns(self) -> list[tuple[str, str]]:
        """Name and type of what may be an attribute: everything but the suggested id and vector."""
        if self.inspection is None:
            return []
        taken = set(self.inspection["columns"].values())
        return [(name, self.inspection["found"][name]) for name in self.inspection["names"] if name not in taken]

    def _suggested(self) -> dict[str, str]:
        suggested = self.inspection["suggested_schema"]["attributes"] if self.inspection else []
        return {each["name"]: each["type"] for each in suggested}


class ReviewForm(WizardForm):
    """The last step: how it is built and served."""

    spec_fields = {
        "engine": "engine",
        "search.recall_target": "recall_target",
        "limits.qps": "qps",
        "replicas.count": "replicas",
        "source.notice": "notice",
    }

    engine = forms.ChoiceField(help_text="auto picks by size and tells why.")
    recall_target = forms.FloatField(
        min_value=0, max_value=1, help_text="The search effort is tuned until an answer is this near to exact search."
    )
    qps = forms.IntegerField(label="Queries a second", min_value=1, help_text="The service's limit.")
    replicas = forms.IntegerField(min_value=1, help_text="On so many nodes each version is loaded.")
    notice = forms.ChoiceField(label="A new drop is built", choices=NOTICES)
    build_now = forms.BooleanField(label="Build now from the newest drop", required=False)

    def __init__(self, data: Any = None, *, draft: Draft) -> None:
        spec = draft.spec
        initial = {
            "engine": spec.get("engine", {}).get("name", AUTO),
            "recall_target": spec.get("search", {}).get("recall_target", DEFAULT_RECALL),
            "qps": spec.get("limits", {}).get("qps", DEFAULT_LIMITS.qps),
            "replicas": spec.get("replicas", {}).get("count", DEFAULT_REPLICAS.count),
            "notice": spec["source"].get("notice", NOTICES[0][0]),
            "build_now": draft.inspection is not None,
        }
        super().__init__(data, initial=initial)
        engine = cast(forms.ChoiceField, self.fields["engine"])
        engine.choices = [(AUTO, AUTO), *engine_choices()]

    def blocks(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        """The blocks that this form is about for `spec`, with what differs from the defaults; empty ones go."""
        data = self.cleaned_data
        source = {key: value for key, value in spec["source"].items() if key != "notice"}
        return {
            "source": source if data["notice"] == NOTICES[0][0] else {**source, "notice": data["notice"]},
            "engine": self._engine(spec.get("engine", {})),
            "search": _unless(data["recall_target"] == DEFAULT_RECALL, "recall_target", data["recall_target"]),
            "limits": _unless(data["qps"] == DEFAULT_LIMITS.qps, "qps", data["qps"]),
            "replicas": _unless(data["replicas"] == DEFAULT_REPLICAS.count, "count", data["replicas"]),
        }

    def _engine(self, present: Mapping[str, Any]) -> dict[str, Any]:
        """Parameters stay with the engine that they are of."""
        name = self.cleaned_data["engine"]
        if name == present.get("name", AUTO):
            return dict(present)
        return {} if name == AUTO else {"name": name}


def _unless(default: bool, name: str, value: Any) -> dict[str, Any]:
    return {} if default else {name: value}
