"""The layout that DESIGN section 4 gives, held by counting."""

from __future__ import annotations

import ast
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 400
TEST_FILE_LINES_MAX = 600

CODE_FOLDERS = (
    "platform",
    "tenants",
    "workers",
    "bundles",
    "engines",
    "querymodel",
    "replicas",
    "gateway",
    "documents",
    "failpoints",
    "cores",
    "cli",
    "clients/python/recall_client",
    "benchmarks",
    "demo",
    "deploy",
)
KNOWN_TOP_LEVEL = {
    *("platform", "tenants", "workers", "bundles", "engines", "replicas", "gateway", "documents", "cli", "clients"),
    *("failpoints", "cores", "querymodel"),
    *("proto", "benchmarks", "demo", "deploy", "docs", "tests", "tools", ".ci"),
    *("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE", "Makefile", "manage.py"),
    *("pyproject.toml", "uv.lock", ".gitignore", ".importlinter", ".dockerignore", ".gitattributes"),
}


def python_files(*folders: str) -> Iterator[Path]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if "migrations" not in path.parts and "__pycache__" not in path.parts:
                yield path


@pytest.mark.parametrize("folder", ["platform", "proto", "proto/python"])
def test_it_is_a_folder_and_never_a_package(folder: str) -> None:
    """With an `__init__.py`, platform/ would shadow the standard library's module and proto/ the one of proto-plus."""
    assert not (ROOT / folder / "__init__.py").exists()


def test_the_standard_library_s_platform_is_intact_in_the_checkout() -> None:
    code = "import platform; print(platform.system())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == platform.system() == "Linux", done.stderr


def test_no_app_of_ours_has_the_name_of_a_standard_module() -> None:
    names = {path.name for path in (ROOT / "platform").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert names & sys.stdlib_module_names == set()


def test_every_app_is_installed_typed_packaged_and_under_the_import_contracts() -> None:
    apps = {path.parent.name for path in (ROOT / "platform").glob("*/apps.py")}
    settings, project = (ROOT / "platform/config/settings.py").read_text(), (ROOT / "pyproject.toml").read_text()
    makefile, contracts = (ROOT / "Makefile").read_text(), (ROOT / ".importlinter").read_text()
    assert {app for app in apps if f'    "{app}",\n' not in settings} == set()
    assert {app for app in apps if f'"platform/{app}"' not in project} == set()
    assert {app for app in apps if f"platform/{app} " not in makefile} == set()
    assert {app for app in apps if f"    {app}\n" not in contracts} == set()


def test_the_top_level_holds_only_what_is_known() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("This is no git checkout, so what belongs to it cannot be told from what lies in it.")
    assert {line.split("/")[0] for line in listed.stdout.splitlines()} - KNOWN_TOP_LEVEL == set()


def test_no_function_is_too_long() -> None:
    too_long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name} has {lines} lines"
        for path in python_files(*CODE_FOLDERS, "tests")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES_MAX
    ]
    assert too_long == []


@pytest.mark.parametrize(("folders", "limit"), [(CODE_FOLDERS, FILE_LINES_MAX), (("tests",), TEST_FILE_LINES_MAX)])
def test_no_file_is_too_long(folders: tuple[str, ...], limit: int) -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in python_files(*folders)}
    assert {str(path.relative_to(ROOT)): lines for path, lines in lengths.items() if lines > limit} == {}


def test_every_function_of_ours_says_what_it_takes_and_returns() -> None:
    bare = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path in python_files(*CODE_FOLDERS)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.returns is None
    ]
    assert bare == []
