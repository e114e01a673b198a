"""Who may import whom: `.importlinter`, and the one rule that it cannot say."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

LINT_SECONDS_MAX = 120
# What the catalog may take from the libraries: descriptions of engines, and the check of a URI's form.
CATALOG_MAY_IMPORT = {"engines": {"engines.registry"}, "bundles": {"bundles.uris", "bundles.places", "bundles.errors"}}


def test_the_import_contracts_are_kept() -> None:
    lint_imports = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [str(lint_imports), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LINT_SECONDS_MAX,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr


def test_the_catalog_takes_only_the_registry_and_the_uris_from_the_libraries() -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sorted((ROOT / "platform/catalog").rglob("*.py"))
        for name in imported_modules(path)
        if (library := name.split(".")[0]) in CATALOG_MAY_IMPORT and name not in CATALOG_MAY_IMPORT[library]
    ]
    assert wrong == []


def imported_modules(path: Path) -> set[str]:
    """Modules a file names: `from engines import registry` counts as engines.registry."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            is_package = "." not in node.module
            names.update(f"{node.module}.{alias.name}" if is_package else node.module for alias in node.names)
    return names
