"""Forms: shape only. What a spec may say is decided by catalog.spec, and its errors come back to the fields."""

from __future__ import annotations

from typing import Any, cast

from django import forms

from catalog.selectors import engine_choices
from common.errors import RecallError
from tenants.models import Scope

ATTRIBUTE_TYPES = ("string", "int64", "float64", "bool", "list<string>")

# Field of the spec -> field of the form.
FIELDS = {
    "name": "name",
    "schema.id_type": "id_type",
    "schema.dimension": "dimension",
    "schema.metric": "metric",
    "schema.attributes": "attributes",
    "source.uri": "uri",
    "source.columns.id": "id_column",
    "source.columns.vector": "vector_column",
    "engine.name": "engine",
    "limits.qps": "qps",
}


class ServiceForm(forms.Form):
    """The questions whose answers differ between services; all else has a default and can be changed later."""

    name = forms.CharField(max_length=63, help_text="Lower case letters, digits and hyphens. Callers use it; it stays.")
    uri = forms.CharField(
        label="Model path",
        max_length=500,
        help_text="Where your training job drops item embeddings, a folder each, such as file:movies/ of your team.",
    )
    dimension = forms.IntegerField(min_value=1, max_value=4096, help_text="Numbers in one vector.")
    metric = forms.ChoiceField(
        choices=[("ip", "inner product"), ("cosine", "cosine"), ("l2", "squared distance (l2)")],
        help_text="How your model compares vectors.",
    )
    id_type = forms.ChoiceField(label="Ids", choices=[("int64", "whole numbers (int64)"), ("string", "text (string)")])
    attributes = forms.CharField(
        required=False,
        widget=forms.Textarea(attrs={"rows": 3, "placeholder": "genre: list<string>\nyear: int64"}),
        help_text="Optional. One per line, as name: type. Types: " + ", ".join(ATTRIBUTE_TYPES) + ".",
    )
    id_column = forms.CharField(label="Column of the id", initial="id", max_length=100)
    vector_column = forms.CharField(label="Column of the vector", initial="vector", max_length=100)
    engine = forms.ChoiceField(required=False, help_text="auto picks by size and tells why.")
    qps = forms.IntegerField(
        label="Queries a second", min_value=1, initial=1000, help_text="The service's limit, below your team's quota."
    )
    build_now = forms.BooleanField(
        label="Build now from the newest drop", required=False, initial=True, help_text="You can watch it."
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        engine = cast(forms.ChoiceField, self.fields["engine"])
        engine.choices = [("auto", "auto"), *engine_choices()]

    def clean_attributes(self) -> list[dict[str, str]]:
        lines = [line.strip() for line in self.cleaned_data["attributes"].splitlines() if line.strip()]
        pairs = [line.partition(":") for line in lines]
        if wrong := [line for line, pair in zip(lines, pairs, strict=True) if not pair[1]]:
            raise forms.ValidationError(f"Write name: type on each line; {wrong[0]!r} has no colon.")
        return [{"name": name.strip(), "type": kind.strip()} for name, _, kind in pairs]

    def spec(self) -> dict[str, Any]:
        """The spec that REST and CLI would send."""
        data = self.cleaned_data
        return {
            "name": data["name"],
            "schema": {
                "id_type": data["id_type"],
                "dimension": data["dimension"],
                "metric": data["metric"],
                "attributes": data["attributes"],
            },
            "source": {"uri": data["uri"], "columns": {"id": data["id_column"], "vector": data["vector_column"]}},
            "engine": {"name": data["engine"] or "auto"},
            "limits": {"qps": data["qps"]},
        }

    def take(self, error: RecallError) -> None:
        """Puts each fault beside the field of the form that it is about."""
        for fault in error.details or [{"field": error.field, "message": error.message}]:
            path = str(fault.get("field", ""))
            field = next((ours for theirs, ours in FIELDS.items() if path.startswith(theirs)), None)
            self.add_error(field, fault["message"] if field else f"{path}: {fault['message']}".lstrip(": "))


class KeyForm(forms.Form):
    name = forms.CharField(required=False, max_length=100, help_text="Who will use it.")
    scope = forms.ChoiceField(
        choices=[
            (Scope.READ.value, "read: ask for recalls"),
            (Scope.WRITE.value, "write: read, and change items"),
            (Scope.MANAGE.value, "manage: everything an owner may"),
        ]
    )
    service = forms.ChoiceField(required=False)
    expires_at = forms.DateTimeField(
        required=False,
        label="Expires (UTC)",
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}),
        help_text="Empty: never.",
    )

    def __init__(self, *args: Any, services: list[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        service = cast(forms.ChoiceField, self.fields["service"])
        service.choices = [("", "every service of the team"), *((name, name) for name in services)]
