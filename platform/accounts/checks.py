"""What a user name and a password may be. Raises InvalidArgument that names the field."""

from __future__ import annotations

import secrets
import string

from django.contrib.auth.models import User
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db.models import Model

from common.errors import InvalidArgument

PASSWORD_CHARACTERS_MAX = 1_024
GENERATED_PASSWORD_LENGTH = 20
GENERATED_PASSWORD_ALPHABET = string.ascii_letters + string.digits


def check_row(row: Model) -> None:
    """Everything that the model's fields say of themselves, each fault in `details`."""
    try:
        row.full_clean(validate_unique=False, validate_constraints=False)
    except ValidationError as error:
        faults = [{"field": name, "message": " ".join(texts)} for name, texts in error.message_dict.items()]
        message = " ".join(f"{fault['field']}: {fault['message']}" for fault in faults)
        raise InvalidArgument(message, field=faults[0]["field"], details=faults) from error


def generated_password() -> str:
    return "".join(secrets.choice(GENERATED_PASSWORD_ALPHABET) for _ in range(GENERATED_PASSWORD_LENGTH))


def password_or_generated(password: str | None, user: User) -> tuple[str, str | None]:
    """The password to set, and the same again when it was generated because none was given."""
    if not password:
        generated = generated_password()
        return generated, generated
    check_password(password, user)
    return password, None


def check_password(password: str, user: User) -> None:
    """The rules of AUTH_PASSWORD_VALIDATORS, and a length that costs nobody anything."""
    if len(password) > PASSWORD_CHARACTERS_MAX:
        message = f"A password may have at most {PASSWORD_CHARACTERS_MAX:,} characters."
        raise InvalidArgument(message, field="password")
    try:
        validate_password(password, user)
    except ValidationError as error:
        faults = [{"field": "password", "message": text} for text in error.messages]
        raise InvalidArgument(" ".join(error.messages), field="password", details=faults) from error
