"""Browsers in words."""

from __future__ import annotations

import pytest

from accounts.agents import in_words

MOZILLA = "Mozilla/5.0"
WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"


@pytest.mark.parametrize(
    ("agent", "words"),
    [
        (f"{MOZILLA} (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0", "Firefox 128 on Linux"),
        (f"{MOZILLA} (Windows NT 10.0; Win64; x64) {WEBKIT} Chrome/131.0.0.0 Safari/537.36", "Chrome 131 on Windows"),
        (
            f"{MOZILLA} (Windows NT 10.0; Win64; x64) {WEBKIT} Chrome/131.0.0.0 Safari/537.36 Edg/131.0.0.0",
            "Edge 131 on Windows",
        ),
        (
            f"{MOZILLA} (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 "
            "Safari/605.1.15",
            "Safari 18 on macOS",
        ),
        (
            f"{MOZILLA} (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
            "Version/18.1 Mobile/15E148 Safari/604.1",
            "Safari 18 on iPhone",
        ),
        (f"{MOZILLA} (Linux; Android 14) {WEBKIT} Chrome/131.0.0.0 Mobile Safari/537.36", "Chrome 131 on Android"),
        (f"{MOZILLA} (X11; Linux x86_64) {WEBKIT} HeadlessChrome/131.0 Safari/537.36", "Chrome 131 on Linux"),
        ("curl/8.5.0", "curl 8"),
        ("python-httpx/0.28", "Python 0"),
        ("", "unknown browser"),
        ("<script>alert(1)</script>", "unknown browser"),
    ],
)
def test_a_browser_is_named_by_what_its_owner_calls_it(agent: str, words: str) -> None:
    assert in_words(agent) == words
