"""What every process of the platform that may come to ask an instance looks at when it starts."""

from __future__ import annotations

from engines.milvus.instances import SettingWrong, configured


def wrong() -> str:
    """As `engines.settings` asks. Whether anybody answers at those addresses is not looked at."""
    try:
        configured()
    except SettingWrong as error:
        return f"{error}."
    return ""


def servers() -> list[tuple[str, str]]:
    """As `engines.settings` asks."""
    try:
        return [(name, address.uri) for name, address in configured().items()]
    except SettingWrong:
        return []
