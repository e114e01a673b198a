"""What is allowed in the input of the actions. All raise InvalidArgument that names the field."""

from __future__ import annotations

import secrets
import string
from collections.abc import Sequence
from datetime import datetime

from django.contrib.auth.models import User
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db.models import Model
from django.utils import timezone

from common.errors import InvalidArgument
from tenants.models import valid_name

PASSWORD_CHARACTERS_MAX = 1_024
GENERATED_PASSWORD_LENGTH = 20
GENERATED_PASSWORD_ALPHABET = string.ascii_letters + string.digits

# To a gateway no queries a second would mean no limit; a tenant is stopped by revoking its keys.
QUOTA_LEAST = {"qps_max": 1}
# Each limit of a quota and the most that its column holds.
QUOTA_LIMITS = {
    "services_max": 2**31 - 1,
    "items_max": 2**63 - 1,
    "memory_bytes_max": 2**63 - 1,
    "qps_max": 2**31 - 1,
    "builds_at_once_max": 2**31 - 1,
}


def check_name(name: object, *, field: str) -> str:
    """The name of a tenant or a service."""
    try:
        valid_name(name)
    except ValidationError as error:
        raise InvalidArgument(f"{name!r} is no name. {error.message}", field=field) from error
    return str(name)


def check_choice(value: object, choices: Sequence[str], *, field: str) -> str:
    if value not in choices:
        raise InvalidArgument(f"The {field} must be one of {', '.join(choices)}, not {value!r}.", field=field)
    return str(value)


def check_expiry(expires_at: datetime | None) -> None:
    if expires_at is not None and (timezone.is_naive(expires_at) or expires_at <= timezone.now()):
        message = "A key must expire in the future; give a time with its zone, or none."
        raise InvalidArgument(message, field="expires_at")


def check_row(row: Model) -> None:
    """Everything that the model's fields say of themselves, each fault in `details`."""
    try:
        row.full_clean(validate_unique=False, validate_constraints=False)
    except ValidationError as error:
        faults = [{"field": name, "message": " ".join(texts)} for name, texts in error.message_dict.items()]
        message = " ".join(f"{fault['field']}: {fault['message']}" for fault in faults)
        raise InvalidArgument(message, field=faults[0]["field"], details=faults) from error


def check_limits(limits: dict[str, int]) -> None:
    """Known names of a quota's limits, whole numbers that each of them allows."""
    faults = [{"field": name, "message": fault} for name, value in limits.items() if (fault := _fault_of(name, value))]
    if faults:
        message = " ".join(f"{fault['field']}: {fault['message']}" for fault in faults)
        raise InvalidArgument(message, field=faults[0]["field"], details=faults)


def password_or_generated(password: str | None, user: User) -> tuple[str, str | None]:
    """The password to set, and the same again when it was generated because none was given."""
    if not password:
        generated = "".join(secrets.choice(GENERATED_PASSWORD_ALPHABET) for _ in range(GENERATED_PASSWORD_LENGTH))
        return generated, generated
    if len(password) > PASSWORD_CHARACTERS_MAX:
        message = f"A password may have at most {PASSWORD_CHARACTERS_MAX:,} characters."
        raise InvalidArgument(message, field="password")
    try:
        validate_password(password, user)
    except ValidationError as error:
        faults = [{"field": "password", "message": text} for text in error.messages]
        raise InvalidArgument(" ".join(error.messages), field="password", details=faults) from error
    return password, None


def _fault_of(name: str, value: object) -> str | None:
    if name not in QUOTA_LIMITS:
        return f"There is no such limit. There are {', '.join(QUOTA_LIMITS)}."
    least, most = QUOTA_LEAST.get(name, 0), QUOTA_LIMITS[name]
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        return f"A limit is a whole number from {least} to {most:,}."
    return None
