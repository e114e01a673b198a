"""Forms: shape only. Those of the create wizard stand in `console.wizard.forms`."""

from __future__ import annotations

from typing import Any, cast

from django import forms

from tenants.models import Scope


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
