"""What tests bring from elsewhere once, and keep for the next run."""

from __future__ import annotations

import os
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "recall-tests"
