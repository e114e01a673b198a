"""Failpoints: the table of names is that of the places, and what switches them on is understood or refused."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

import failpoints
from failpoints import Action, FailpointRaised, failpoint
from workers.pipeline import STEPS

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = (
    "platform",
    "tenants",
    "workers",
    "bundles",
    "engines",
    "querymodel",
    "replicas",
    "gateway",
    "documents",
    "cli",
)
# On the path of requests there is none.
SERVING = ("gateway", "replicas")


def named_places(*folders: str) -> Counter[str]:
    """How often each literal name is handed to `failpoint`, at once or by a `partial`."""
    found: Counter[str] = Counter()
    for folder in folders:
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and "failpoint" in map(ast.unparse, (node.func, *node.args)):
                    found.update(each.value for each in node.args if isinstance(each, ast.Constant))
    return found


def test_every_name_of_the_table_is_one_place_in_the_code() -> None:
    assert named_places(*FOLDERS) == Counter(failpoints.NAMES)


def test_there_is_none_on_the_path_of_a_request() -> None:
    assert named_places(*SERVING) == Counter()


@pytest.mark.parametrize("step", [step.name for step in STEPS])
def test_the_boundaries_of_each_step_are_failpoints(step: str) -> None:
    assert failpoints.is_name(f"step.{step}.before")
    assert failpoints.is_name(f"step.{step}.after")


def test_what_is_asked_for_is_understood() -> None:
    told = "publish.before_rename=kill, step.retire.after=sleep:0.5,build.claimed=raise,publish.after_files=hold:/go"
    assert failpoints.parse({"RECALL_FAILPOINTS": told, "RECALL_DEBUG": "True"}) == {
        "publish.before_rename": Action("kill"),
        "step.retire.after": Action("sleep", 0.5),
        "build.claimed": Action("raise"),
        "publish.after_files": Action("hold", until="/go"),
    }
    assert failpoints.parse({"RECALL_DEBUG": "True"}) == {}


@pytest.mark.parametrize(
    "told",
    [
        *("publish.nowhere=kill", "publish.before_rename", "build.claimed=sleep", "build.claimed=sleep:9e9", "a=b"),
        *("build.claimed=hold", "build.claimed=hold:go"),
    ],
)
def test_what_is_not_understood_is_refused(told: str) -> None:
    with pytest.raises(ValueError, match="RECALL_FAILPOINTS"):
        failpoints.parse({"RECALL_FAILPOINTS": told, "RECALL_DEBUG": "True"})


@pytest.mark.parametrize("debug", ["", "False", "0"])
def test_without_debug_a_process_that_is_told_of_failpoints_does_not_start(debug: str) -> None:
    environment = {**os.environ, "RECALL_FAILPOINTS": "build.claimed=kill", "RECALL_DEBUG": debug}
    command = [sys.executable, "-c", "import failpoints"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "needs RECALL_DEBUG=True" in done.stderr


def test_it_sleeps_raises_and_passes_by_what_was_not_named(monkeypatch) -> None:
    failpoint("build.claimed")
    armed = {"build.claimed": Action("raise"), "publish.after_files": Action("sleep", 0.2)}
    monkeypatch.setattr(failpoints, "_armed", armed)
    failpoint("publish.after_rename")
    began = time.monotonic()
    failpoint("publish.after_files")
    assert time.monotonic() - began >= 0.2
    with pytest.raises(FailpointRaised):
        failpoint("build.claimed")
    with pytest.raises(ValueError, match="no failpoint"):
        failpoint("build.nowhere")


def test_it_holds_until_the_file_is_there(monkeypatch, tmp_path: Path) -> None:
    go = tmp_path / "go"
    monkeypatch.setattr(failpoints, "_armed", {"build.claimed": Action("hold", until=str(go))})
    held = threading.Thread(target=failpoint, args=["build.claimed"])
    held.start()
    held.join(0.2)
    assert held.is_alive()
    go.touch()
    held.join(10)
    assert not held.is_alive()
