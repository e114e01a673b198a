"""The text of a key and its digest: pure functions, no rows.

A key reads `rk_<prefix>_<secret>`. The prefix is public and finds the row; the secret has 190 random bits, so a fast
keyed digest protects it as well as a slow one would.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import string

PREFIX_LENGTH = 8
SECRET_LENGTH = 32
PREFIX_ALPHABET = string.ascii_lowercase + string.digits
SECRET_ALPHABET = string.ascii_letters + string.digits
KEY_PATTERN = re.compile(r"rk_([a-z0-9]{8})_[A-Za-z0-9]{32}", re.ASCII)


def make_key_text() -> str:
    return f"rk_{_random(PREFIX_ALPHABET, PREFIX_LENGTH)}_{_random(SECRET_ALPHABET, SECRET_LENGTH)}"


def prefix_of(text: str) -> str | None:
    """The public part of a key; None for what is no key at all."""
    match = KEY_PATTERN.fullmatch(text)
    return match.group(1) if match else None


def digest_of(text: str, *, pepper: str) -> str:
    """HMAC-SHA256 of the whole key under `pepper`, hex (64 characters)."""
    return hmac.new(pepper.encode(), text.encode(), hashlib.sha256).hexdigest()


def is_same_digest(one: str, other: str) -> bool:
    """Compares in constant time."""
    return hmac.compare_digest(one, other)


def _random(alphabet: str, length: int) -> str:
    return "".join(secrets.choice(alphabet) for _ in range(length))
