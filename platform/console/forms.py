"""Forms: shape only. Those of the create wizard stand in `console.wizard.forms`."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, cast

from django import forms
from django.utils import timezone

from tenants.actions import KEY_NAME_CHARACTERS_MAX, KEY_OVERLAP_SECONDS
from tenants.models import Scope

DAY_SECONDS = 24 * 3_600
LIFE_DAYS_DEFAULT = "90"
LIVES = (("30", "30 days"), ("90", "90 days"), ("365", "a year"), ("", "no end"))
OVERLAPS = (
    (0, "ends at once"),
    (KEY_OVERLAP_SECONDS, "goes on for an hour"),
    (DAY_SECONDS, "goes on for a day"),
    (7 * DAY_SECONDS, "goes on for a week"),
    (30 * DAY_SECONDS, "goes on for 30 days"),
)


class KeyForm(forms.Form):
    name = forms.CharField(required=False, max_length=KEY_NAME_CHARACTERS_MAX, help_text="Who will use it.")
    scope = forms.ChoiceField(
        choices=[(scope, scope) for scope in Scope.values], help_text="Each includes those before it."
    )
    service = forms.ChoiceField(required=False)
    life_days = forms.ChoiceField(required=False, label="Life", choices=LIVES, initial=LIFE_DAYS_DEFAULT)
    expires_at = forms.DateTimeField(
        required=False,
        label="Or until (UTC)",
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}),
        help_text="Counts instead of the life when it is given.",
    )

    def __init__(self, *args: Any, services: list[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        service = cast(forms.ChoiceField, self.fields["service"])
        service.choices = [("", "every service of the team"), *((name, name) for name in services)]

    def asked(self) -> dict[str, Any]:
        """What `key_create` is told."""
        told = dict(self.cleaned_data)
        days = told.pop("life_days")
        ends: datetime | None = told["expires_at"]
        if ends is None and days:
            ends = timezone.now() + timedelta(days=int(days))
        return {**told, "expires_at": ends}


class RotateForm(forms.Form):
    overlap_seconds = forms.TypedChoiceField(
        choices=OVERLAPS, coerce=int, initial=KEY_OVERLAP_SECONDS, label="The old key"
    )
