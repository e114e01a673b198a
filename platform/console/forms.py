"""Forms: shape only. Those of the create wizard stand in `console.wizard.forms`."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, cast

from django import forms
from django.utils import timezone

from common.errors import RecallError
from console.templatetags.console_tags import size
from tenants.actions import KEY_NAME_CHARACTERS_MAX, KEY_OVERLAP_SECONDS, TITLE_CHARACTERS_MAX
from tenants.checks import QUOTA_LEAST, QUOTA_LIMITS
from tenants.models import NAME_CHARACTERS_MAX, Quota, Role, Scope

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


class ActionForm(forms.Form):
    """A form whose fields are called as the fields of the action behind it."""

    def take(self, error: RecallError) -> None:
        """Puts each fault beside the field that it is about, and the others on top."""
        for fault in error.details or [{"field": error.field, "message": error.message}]:
            name = str(fault.get("field", ""))
            self.add_error(name if name in self.fields else None, fault["message"])


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


class TeamForm(ActionForm):
    name = forms.CharField(
        max_length=NAME_CHARACTERS_MAX,
        widget=forms.TextInput(attrs={"autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"}),
        help_text="Of lower-case letters, digits and hyphens. It stands in every address and never changes.",
    )
    title = forms.CharField(required=False, max_length=TITLE_CHARACTERS_MAX, help_text="For people; may be left empty.")
    owner = forms.CharField(
        required=False,
        max_length=150,
        widget=forms.TextInput(attrs={"autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"}),
        help_text="The user name of somebody who is here already. Without one, take people in on the next page.",
    )


class MemberForm(ActionForm):
    username = forms.CharField(
        label="User name",
        max_length=150,
        widget=forms.TextInput(attrs={"autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"}),
    )
    role = forms.ChoiceField(choices=[(role.value, role.value) for role in Role])
    new = forms.BooleanField(
        label="New here",
        required=False,
        help_text="A password is made up and shown once; it must be changed at the first sign-in.",
    )

    def take(self, error: RecallError) -> None:
        if error.reason == "USER_NOT_FOUND":
            self.add_error("username", 'There is no such user. Tick "New here" to make one.')
        elif error.reason == "USER_EXISTS":
            self.add_error("username", 'There is a user of that name. Leave "New here" out to take them in.')
        else:
            super().take(error)


class RoleForm(forms.Form):
    role = forms.ChoiceField(choices=[(role.value, role.value) for role in Role])


class PasswordForm(ActionForm):
    """The present password, and twice the new one; what it may be, the action says."""

    present = forms.CharField(
        label="Present password",
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
    )
    password = forms.CharField(
        label="New password",
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text="At least 10 characters; not a common one, and not like your user name.",
    )
    again = forms.CharField(
        label="New password again",
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or self.cleaned_data
        if "password" in given and "again" in given and given["password"] != given["again"]:
            self.add_error("again", "The two new passwords differ.")
        return given


class QuotaForm(ActionForm):
    """Every limit of a quota; what is left as it is changes nothing."""

    services_max = forms.IntegerField(label="Services")
    items_max = forms.IntegerField(label="Items")
    memory_bytes_max = forms.IntegerField(label="Memory in bytes")
    qps_max = forms.IntegerField(label="Queries a second")
    builds_at_once_max = forms.IntegerField(label="Builds at once")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, field in self.fields.items():
            # So that what somebody else changed meanwhile is not taken for a change of this form's.
            field.show_hidden_initial = True
            field.widget.attrs.update(min=QUOTA_LEAST.get(name, 0), max=QUOTA_LIMITS[name])
        self.fields["memory_bytes_max"].help_text = f"Now {size(self.initial['memory_bytes_max'])}."

    @staticmethod
    def initial_of(quota: Quota) -> dict[str, int]:
        return {name: getattr(quota, name) for name in QUOTA_LIMITS}

    def changes(self) -> dict[str, int]:
        return {name: self.cleaned_data[name] for name in self.changed_data}
