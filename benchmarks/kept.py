"""An artifact that outlives a benchmark, so that what takes minutes is made once.

FOLDER/artifact is the artifact, FOLDER/made.json says of what it was made. The folder appears whole or not at all.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from bundles.artifact import Published

NOTE, ARTIFACT = "made.json", "artifact"


class NotKept(Exception):
    """The folder holds something else, which is left alone."""


def kept(folder: Path, facts: Mapping[str, object], make: Callable[[Path], Published]) -> Published:
    """What `folder` keeps of these `facts` (JSON), else what `make` makes in the empty folder that it is given.

    Raises NotKept. What an interrupted call left in FOLDER.unfinished is removed.
    """
    if folder.exists() and any(folder.iterdir()):
        return _found(folder, facts)
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    made = make(unfinished / "made")
    made.path.rename(unfinished / ARTIFACT)
    shutil.rmtree(unfinished / "made")
    note = {"facts": facts, "manifest_sha256": made.manifest_sha256, "bytes": made.bytes}
    (unfinished / NOTE).write_text(json.dumps(note))
    unfinished.rename(folder)
    return dataclasses.replace(made, path=folder / ARTIFACT)


def _found(folder: Path, facts: Mapping[str, object]) -> Published:
    try:
        note = json.loads((folder / NOTE).read_text())
    except FileNotFoundError:
        raise NotKept(f"{folder} is not empty and has no {NOTE}; name another folder") from None
    if note["facts"] != facts:
        raise NotKept(f"{folder} keeps an artifact of {note['facts']}, not of {facts}; name another folder")
    return Published(folder / ARTIFACT, note["manifest_sha256"], note["bytes"])
