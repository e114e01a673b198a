"""A browser in words, from what it says of itself: a help to recognise one's own, and no proof of anything."""

from __future__ import annotations

import re
from collections.abc import Iterable

# Each also says the names of those after it, so the first that fits is meant.
BROWSERS = (
    ("Edge", r"\bEdg(?:A|iOS)?/(\d+)"),
    ("Opera", r"\b(?:OPR|Opera)/(\d+)"),
    ("Samsung Internet", r"\bSamsungBrowser/(\d+)"),
    ("Firefox", r"\b(?:Firefox|FxiOS)/(\d+)"),
    ("Chrome", r"\b(?:Headless)?(?:Chrome|CriOS)/(\d+)"),
    ("Safari", r"\bVersion/(\d+).*\bSafari/"),
    ("curl", r"^curl/(\d+)"),
    ("Python", r"\bpython(?:-requests|-httpx|-urllib)?/(\d+)"),
)
SYSTEMS = (
    ("Windows", r"\bWindows\b"),
    ("Android", r"\bAndroid\b"),
    ("iPad", r"\biPad\b"),
    ("iPhone", r"\biPhone\b"),
    ("ChromeOS", r"\bCrOS\b"),
    ("macOS", r"\bMac OS X\b|\bMacintosh\b"),
    ("Linux", r"\bLinux\b"),
)
UNKNOWN = "unknown browser"


def in_words(agent: str) -> str:
    """Firefox 128 on Linux."""
    browser, system = _first(BROWSERS, agent), _first(SYSTEMS, agent)
    return f"{browser or UNKNOWN} on {system}" if system else browser or UNKNOWN


def _first(table: Iterable[tuple[str, str]], agent: str) -> str:
    for name, pattern in table:
        found = re.search(pattern, agent, re.IGNORECASE)
        if found:
            return " ".join([name, *found.groups()])
    return ""
