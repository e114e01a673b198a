"""The text of a key and its digest; no database."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenants import keys

PEPPER = "pepper-of-the-tests"


def test_it_makes_a_key_whose_prefix_it_finds_again():
    text = keys.make_key_text()
    marker, prefix, secret = text.split("_")
    assert (marker, len(prefix), len(secret)) == ("rk", 8, 32)
    assert keys.prefix_of(text) == prefix


def test_it_never_makes_the_same_key_twice():
    assert len({keys.make_key_text() for _ in range(500)}) == 500


def test_it_digests_the_whole_key_as_the_gateway_will():
    text = "rk_abcd1234_" + "S" * 32
    expected = hmac.new(PEPPER.encode(), text.encode(), hashlib.sha256).hexdigest()
    assert keys.digest_of(text, pepper=PEPPER) == expected
    assert len(bytes.fromhex(expected)) == 32


def test_it_digests_differently_under_another_pepper():
    text = keys.make_key_text()
    assert not keys.is_same_digest(keys.digest_of(text, pepper="one"), keys.digest_of(text, pepper="two"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "rk_",
        "rk_abcd1234_" + "S" * 31,
        "rk_abcd1234_" + "S" * 33,
        "rk_ABCD1234_" + "S" * 32,
        "xx_abcd1234_" + "S" * 32,
        "rk_abcd1234_" + "S" * 32 + "\n",
        " rk_abcd1234_" + "S" * 32,
        "rk_abcd123٤_" + "S" * 32,
    ],
)
def test_it_finds_no_prefix_in_what_is_no_key(text: str):
    assert keys.prefix_of(text) is None


@given(st.text())
def test_it_takes_any_text_without_a_fault(text: str):
    assert keys.prefix_of(text) is None or text.startswith("rk_")
