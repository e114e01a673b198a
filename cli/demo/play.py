"""The demo, step by step: what a team does on its first day, and on the day when a drop is bad."""

from __future__ import annotations

import random
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from cli.builds import await_build, require_success
from cli.demo import team as teams
from cli.demo.data import Items, deliver_without, read_items
from cli.demo.story import Story
from cli.demo.traffic import Traffic
from cli.errors import CliError
from cli.launcher.settings import LauncherSettings
from cli.launcher.state import PlatformState
from cli.local import demo_load
from demo.service import SERVICE as NAME
from demo.service import TENANT

if TYPE_CHECKING:
    from recall_client import Answer, Client

SERVICE = f"tenants/{TENANT}/services/{NAME}"
TOP_K = 10
CHECKED_QUERIES = 300
RECALL_MIN = 0.95
# Of the images' own nearest neighbours 77 % are of their category (demo/README.md).
SAME_CATEGORY_MIN = 0.65
LOST_CATEGORY = "Ankle boot"
DEADLINE_MS = 5_000
FIRST_ANSWER_SECONDS_MAX = 15
SWITCH_SECONDS_MAX = 10
CALM_SECONDS = 1.0
SEED = 23


@dataclass(frozen=True)
class Outcome:
    """What `recall demo --json` prints."""

    console_url: str
    api_url: str
    gateway: str
    api_key: str
    service: str
    version: int
    items: int
    recall_at_10: float
    seconds_to_first_answer: float


def play(settings: LauncherSettings, platform: PlatformState, story: Story) -> tuple[Outcome, teams.Team]:
    """Plays everything on a running platform. Raises CliError as soon as a part does not do what it should."""
    from recall_client import Client

    items = read_items()
    story.chapter("A team gets its service")
    with story.step(f"team {TENANT} with an owner and a key of its own"):
        team = teams.find_or_make_team(settings, platform)
    begin = time.monotonic()
    with story.step(f"service {NAME} registered, and a build of its drop asked for"):
        number = demo_load(TENANT)
    build = _follow(team, story, number)
    with Client(platform.gateway, team.key, service=SERVICE, deadline_ms=DEADLINE_MS) as client:
        with story.step("first answer over gRPC"):
            answer = _first_answer(client, items, build["version"])
        seconds = time.monotonic() - begin
        boot = _show_answer(story, client, items)
        recall = _check(story, client, items)
        _second_drop(settings, platform, team, story, client, items, boot)
        count = client.count_items()
    outcome = Outcome(
        console_url=platform.console_url,
        api_url=platform.api_url,
        gateway=platform.gateway,
        api_key=team.key,
        service=SERVICE,
        version=answer.version,
        items=count.items,
        recall_at_10=round(recall, 4),
        seconds_to_first_answer=round(seconds, 2),
    )
    return outcome, team


def as_data(outcome: Outcome) -> dict[str, Any]:
    return asdict(outcome)


def _follow(team: teams.Team, story: Story, number: int) -> dict[str, Any]:
    """Waits until the build is live."""
    with story.step(f"build {number}") as step:
        build = await_build(team.api, teams.SERVICE_PATH, number, step.follow)
        require_success(build)
        counted = f"{build['drop']['count']:,} items of drop {build['drop']['name']}"
        step.title = f"build {number} made version {build['version']} of {counted}; it is live"
    return build


def _first_answer(client: Client, items: Items, version: int) -> Answer:
    """Asks until the gateway has heard of the service and its key, which takes a moment at the very first time."""
    from recall_client import FailedPrecondition, PermissionDenied, Unauthenticated, Unavailable

    until = time.monotonic() + FIRST_ANSWER_SECONDS_MAX
    while True:
        try:
            answer = client.recall(items.vectors[0], top_k=TOP_K)
        except (FailedPrecondition, PermissionDenied, Unauthenticated, Unavailable) as error:
            if time.monotonic() > until:
                raise CliError(f"The gateway does not answer for {SERVICE}: {error}.") from error
            time.sleep(0.05)
            continue
        if answer.version == version:
            return answer
        if time.monotonic() > until:
            raise CliError(f"The gateway answers with version {answer.version}, not with {version}.")


def _show_answer(story: Story, client: Client, items: Items) -> int:
    """Asks for what is like one ankle boot; returns the boot's row."""
    boots = [row for row, category in enumerate(items.categories) if category == LOST_CATEGORY]
    boot = random.Random(SEED).choice(boots)  # noqa: S311  (picks an example)
    story.chapter(f"Which items are like item {items.ids[boot]}, an {LOST_CATEGORY.lower()}?")
    neighbours = _ask(story, client, items, boot)
    if neighbours.count(LOST_CATEGORY) <= TOP_K // 2:
        raise CliError(f"The neighbours of an {LOST_CATEGORY.lower()} are {', '.join(neighbours)}.")
    return boot


def _ask(story: Story, client: Client, items: Items, row: int) -> list[str]:
    """Prints the answer for one item's vector; returns the neighbours' categories."""
    answer = client.recall(
        items.vectors[row], top_k=TOP_K, exclude=[int(items.ids[row])], return_attributes=["category"], trace=True
    )
    categories = [str(category) for category in answer.attributes["category"]]
    if categories != items.category_of(answer.ids):
        raise CliError("The categories in the answer are not those of the items.")
    scores = [float(score) for score in answer.scores]
    story.answer(list(zip(answer.ids.tolist(), categories, scores, strict=True)), like=str(items.categories[row]))
    took = f", {answer.timings.total_us / 1000:.1f} ms inside the platform" if answer.timings else ""
    story.say(f"answered by version {answer.version}{took}")
    return categories


def _check(story: Story, client: Client, items: Items) -> float:
    """Compares answers with exact search in numpy; returns recall at 10."""
    import numpy as np

    from recall_client import Answer

    rows = random.Random(SEED).sample(range(len(items)), CHECKED_QUERIES)  # noqa: S311  (picks a sample)
    with story.step("answers compared with exact search") as step:
        queries = items.vectors[rows]
        answers = client.batch_recall(queries, top_k=TOP_K)
        good = [answer for answer in answers if isinstance(answer, Answer)]
        if len(good) < len(rows):
            raise CliError(f"{len(rows) - len(good)} of {len(rows)} queries of a batch failed.")
        exact = items.exact_top(queries, TOP_K)
        found = [len(np.intersect1d(answer.ids, wanted)) for answer, wanted in zip(good, exact, strict=True)]
        recall = sum(found) / exact.size
        same = _share_of_same_category(items, rows, good)
        step.title = f"recall@10 {recall:.4f}; {same:.0%} of the neighbours share the category"
    if recall < RECALL_MIN or same < SAME_CATEGORY_MIN:
        raise CliError(f"recall@10 {recall:.4f} (at least {RECALL_MIN}), same category {same:.2f}: this is too low.")
    return recall


def _share_of_same_category(items: Items, rows: list[int], answers: list[Answer]) -> float:
    """Among the neighbours of each row, itself left out."""
    same = [
        category == items.categories[row]
        for row, answer in zip(rows, answers, strict=True)
        for item, category in zip(answer.ids, items.category_of(answer.ids), strict=True)
        if item != items.ids[row]
    ]
    return float(sum(same) / len(same))


def _second_drop(
    settings: LauncherSettings,
    platform: PlatformState,
    team: teams.Team,
    story: Story,
    client: Client,
    items: Items,
    boot: int,
) -> None:
    """A drop that has lost a category goes live under traffic, is noticed, and is rolled back."""
    story.chapter(f"The next drop has lost every {LOST_CATEGORY.lower()}, and nobody noticed")
    guard = team.api.get(teams.SERVICE_PATH)["guards"]["max_drop_percent"]
    story.say(f"that is a tenth of the items, and the guard max_drop_percent allows {guard:g} %")
    before = client.count_items().version
    fewer = items.without(LOST_CATEGORY)
    queries = items.vectors[:: max(1, len(items) // 500)]
    with Traffic(target=platform.gateway, key=team.key, service=SERVICE, queries=queries) as traffic:
        traffic.holds[before] = frozenset(items.ids.tolist())
        with story.step("") as step:
            drop = deliver_without(settings.home / "drops" / TENANT / NAME, LOST_CATEGORY)
            step.title = f"drop {drop.name}: {len(fewer):,} items"
        build = _follow(team, story, team.api.post(f"{teams.SERVICE_PATH}:build", {})["number"])
        after = int(build["version"])
        traffic.holds[after] = frozenset(fewer.ids.tolist())
        _await_version(traffic, after)
        neighbours = _ask(story, client, items, boot)
        with story.step("rollback") as step:
            seconds = _roll_back(team, traffic, before, after)
            step.title = f"rolled back to version {before}: it answered after {seconds * 1000:.0f} ms"
        time.sleep(CALM_SECONDS)
    if LOST_CATEGORY in neighbours:
        raise CliError(f"Version {after} answers with items that its drop does not hold.")
    _tell_traffic(story, traffic)
    teams.release(team.api)


def _await_version(traffic: Traffic, version: int) -> None:
    if traffic.seconds_until(version, since=time.monotonic(), seconds_max=SWITCH_SECONDS_MAX) is None:
        raise CliError(f"No answer of version {version} came within {SWITCH_SECONDS_MAX} s of its activation.")


def _roll_back(team: teams.Team, traffic: Traffic, to: int, left: int) -> float:
    """Seconds from the call to the first answer of the old version."""
    begin = time.monotonic()
    done = team.api.post(f"{teams.SERVICE_PATH}:rollback", {"from_version": left, "reason": "the boots are gone"})
    if done["to_version"] != to:
        raise CliError(f"The rollback went to version {done['to_version']}, not to {to}.")
    seconds = traffic.seconds_until(to, since=begin, seconds_max=SWITCH_SECONDS_MAX)
    if seconds is None:
        raise CliError(f"No answer of version {to} came within {SWITCH_SECONDS_MAX} s of the rollback.")
    return seconds


def _tell_traffic(story: Story, traffic: Traffic) -> None:
    result = traffic.result
    shares = ", ".join(f"version {version}: {count:,}" for version, count in sorted(result.versions.items()))
    failed = f"{result.failed} failed calls of {result.sent:,}"
    story.say(f"meanwhile: {failed}; {traffic.wrong} answers with an item of another version ({shares})")
    if result.failed or result.not_sent or traffic.wrong:
        reasons = ", ".join(f"{reason} {count}" for reason, count in result.failures.items())
        raise CliError(f"The switch was not free: {failed}, {traffic.wrong} wrong answers. {reasons}")
