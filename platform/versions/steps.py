"""The steps of a build for people: what each does in words, and where a retry goes on. `workers.pipeline` runs them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from versions.models import Build, Version
from versions.states import PLACED, StepState, VersionState

WORDS: Mapping[str, str] = {
    "resolve_drop": "Finds the drop: the one that was named, else the newest complete one in the source.",
    "check_counts": "Compares the promised number of items with the guards and with the live version.",
    "import_items": "Reads every row, leaves out bad ones, and lays vectors, ids and attributes out for the index.",
    "check_items": "Tries the query model, and compares ids, vector lengths and attributes with the live version.",
    "admit": "Makes sure that memory, disk and quota are enough before anything big is made.",
    "build_index": "Builds the index in a process of its own, which leaves the cores that serve alone.",
    "tune_search": "Looks for the least search effort that reaches the wanted recall, against exact search.",
    "check_index": "Counts what is in the index, and judges its recall by the guards.",
    "publish_artifact": "Writes the version's files with their checksums; from here on they never change.",
    "place_replicas": "Has nodes load the version beside the live one, which goes on answering.",
    "warm_replicas": "Replays queries on each replica until it is as quick as the live version.",
    "check_replicas": "Asks each replica what the index was asked before, and compares the answers.",
    "activate": "Switches the live pointer to the version, and waits for the gateways to follow.",
    "retire": "Takes older versions, beyond those that a rollback needs, out of service.",
}
# What these leave for later steps lies in the working folder of the build, in this order.
KEPT_IN_WORK = ("import_items", "check_items", "build_index", "tune_search")


def goes_on_from(build: Build) -> str:
    """The step at which a retry of a failed build goes on, as far as rows tell: its worker looks at the files."""
    steps = list(build.steps.all())
    done = {step.name for step in steps if step.state == StepState.DONE}
    lost = first_lost(build, done, is_there=lambda _: build.work_dir != "")
    return lost or next((step.name for step in steps if step.name not in done), "")


def first_lost(build: Build, done: set[str], *, is_there: Callable[[str], bool]) -> str:
    """The first step of `done` whose result is lost, so that it and all after it run again; empty when none is.

    `is_there` tells of a step of KEPT_IN_WORK whether its files are.
    """
    if "activate" in done:
        return ""
    version = _version(build)
    if "publish_artifact" in done and version is not None and version.state == VersionState.READY:
        # From here on nothing of the working folder is needed.
        return "place_replicas" if "place_replicas" in done and not _is_placed(version) else ""
    lost = (name for name in KEPT_IN_WORK if name in done and not is_there(name))
    first = next(lost, "publish_artifact" if "publish_artifact" in done else "")
    # Whoever builds now may be another machine, and others may have been admitted meanwhile.
    is_to_build = first == "build_index" or (not first and "build_index" not in done)
    return "admit" if is_to_build and "admit" in done else first


def _version(build: Build) -> Version | None:
    return Version.objects.filter(build=build, number=build.version_number).first() if build.version_number else None


def _is_placed(version: Version) -> bool:
    return version.replicas.filter(state__in=PLACED).exists()
