"""The projection of a version's items: its numbers, what is read for it, and that a build never fails by it."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from bundles import layout
from tests.factories import make_service
from tests.support.artifacts import make_artifact
from tests.support.history import activated, asked, claimed, expired, made_version
from versions import actions
from versions.actions import Completed, FenceLost
from versions.models import Projection
from versions.projections import place_of
from versions.selectors import version_get
from workers.children import projecting
from workers.children.projecting import BYTES_MAX, ITEMS_MAX, principal_plane, project, sample_rows

ON_PAPER = Completed(
    artifact="/artifacts/v1", manifest_sha256="ab" * 32, items=1, searchable_items=1, bytes=1, engine="flat",
    engine_params={}, search_params={},
)  # fmt: skip
PROJECTION = {"sample": {"ids": ["1"]}, "plane": {"reach": 1.0}}


def normal(items: int, *deviations: float) -> np.ndarray:
    """Vectors whose numbers vary so much along each dimension."""
    return np.random.default_rng(3).normal(size=(items, len(deviations))) * np.array(deviations)


def by_singular_values(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same plane by the textbook: coordinates up to their sign, and each axis' share of the variance."""
    centred = vectors - vectors.mean(axis=0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    return left[:, :2] * sizes[:2], (sizes**2 / (sizes**2).sum())[:2]


@pytest.mark.parametrize(("items", "dimension"), [(300, 8), (40, 200), (50, 50)])
def test_the_plane_is_that_of_the_first_two_principal_components(items: int, dimension: int) -> None:
    vectors = normal(items, *np.linspace(3, 0.5, dimension))
    plane = principal_plane(vectors)
    coordinates, shares = by_singular_values(vectors)
    assert plane.shown == pytest.approx(shares)
    assert np.abs(plane.place(vectors) * plane.reach) == pytest.approx(np.abs(coordinates), abs=1e-9)
    assert np.abs(plane.place(vectors)).max() == pytest.approx(1.0)


def test_it_says_how_much_of_the_variance_it_shows() -> None:
    vectors = normal(5_000, 3, 2, 1, 1)
    variances = vectors.var(axis=0)
    assert principal_plane(vectors).shown.tolist() == pytest.approx(
        (variances[:2] / variances.sum()).tolist(), rel=0.01
    )


def test_what_lies_in_a_plane_is_shown_whole_and_undistorted() -> None:
    """A plane somewhere in 16 dimensions: distances on the projection are the true ones, but for one factor."""
    flat = normal(100, 2, 1)
    vectors = flat @ np.linalg.qr(np.random.default_rng(5).normal(size=(16, 2)))[0].T + 7
    plane = principal_plane(vectors)
    assert plane.shown.sum() == pytest.approx(1.0)
    drawn = plane.place(vectors) * plane.reach
    assert np.linalg.norm(drawn[:50] - drawn[50:], axis=1) == pytest.approx(
        np.linalg.norm(vectors[:50] - vectors[50:], axis=1)
    )


def test_the_same_items_give_the_same_projection_whichever_way_their_axes_come_out() -> None:
    vectors = normal(500, 3, 2, 1)
    plane = principal_plane(vectors)
    again = principal_plane(vectors[::-1])
    assert again.place(vectors) == pytest.approx(plane.place(vectors))
    assert all(axis[np.abs(axis).argmax()] > 0 for axis in plane.axes)


@pytest.mark.parametrize(
    ("vectors", "shown"),
    [
        (np.ones((1, 4)), [0, 0]),
        (np.ones((9, 4)), [0, 0]),
        (np.arange(9.0)[:, np.newaxis], [1, 0]),
        (np.array([[0.0, 0, 0], [0, 2, 0]]), [1, 0]),
    ],
    ids=["one item", "equal items", "one dimension", "two items"],
)
def test_items_that_span_no_plane_lie_on_a_line_or_a_point(vectors: np.ndarray, shown: list[float]) -> None:
    plane = principal_plane(vectors)
    assert plane.shown.tolist() == pytest.approx(shown)
    assert plane.axes.shape == (2, vectors.shape[1])
    assert not plane.place(vectors)[:, 1].any()
    assert np.isfinite(plane.place(vectors)).all()


def test_a_sample_of_ten_million_rows_costs_no_more_than_a_small_one() -> None:
    tracemalloc.start()
    rows = sample_rows(10_000_000)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 1_000_000
    assert (len(rows), len(np.unique(rows))) == (ITEMS_MAX, ITEMS_MAX)
    assert (rows == np.sort(rows)).all()
    assert (rows == sample_rows(10_000_000)).all()
    assert sample_rows(5).tolist() == [0, 1, 2, 3, 4]


def test_the_projection_of_an_artifact_has_its_items_with_their_attributes(tmp_path: Path) -> None:
    attributes = {
        "genre": ("list<string>", [["noir", "drama"], [], None] * 10),
        "score": ("float64", [0.5, float("inf"), None] * 10),
        "title": ("string", ["t" * 500] * 30),
        "seen": ("bool", [True, False, None] * 10),
    }
    made = make_artifact(tmp_path, items=30, hidden=6, dimension=8, attributes=attributes)
    projection = project(made.path, made.manifest["searchable_items"])
    assert projection is not None
    sample = json.loads(json.dumps(projection["sample"], allow_nan=False))
    assert (sample["items"], sample["of"]) == (24, 24)
    assert sample["ids"] == [str(each) for each in made.ids[:24]]
    told = {column["name"]: column["values"][:3] for column in sample["attributes"]}
    assert told == {
        "genre": [["noir", "drama"], [], None],
        "score": [0.5, None, None],
        "title": ["t" * 80] * 3,
        "seen": [True, False, None],
    }
    for row in (0, 23):
        assert place_of(projection["plane"], made.vectors[row].tolist()) == pytest.approx(
            [sample["x"][row], sample["y"][row]], abs=1e-4
        )


def test_ids_may_be_texts_and_there_may_be_more_items_than_are_shown(tmp_path: Path) -> None:
    made = make_artifact(tmp_path, items=ITEMS_MAX + 500, dimension=4, text_ids=True)
    projection = project(made.path, ITEMS_MAX + 500)
    assert projection is not None
    assert (projection["sample"]["items"], projection["sample"]["of"]) == (ITEMS_MAX, ITEMS_MAX + 500)
    assert projection["sample"]["ids"] == [made.ids[row] for row in sample_rows(ITEMS_MAX + 500)]
    assert projection["sample"]["attributes"] == []


def test_long_values_make_the_sample_smaller_and_never_the_projection_larger(tmp_path: Path) -> None:
    tags = [[f"{row}-{place}-" + "x" * 90 for place in range(20)] for row in range(2_000)]
    made = make_artifact(tmp_path, items=2_000, dimension=4, attributes={"tags": ("list<string>", tags)})
    projection = project(made.path, 2_000)
    assert projection is not None
    assert len(json.dumps(projection["sample"])) <= BYTES_MAX
    assert projection["sample"]["items"] in (1_000, 500)
    assert projection["sample"]["ids"][1] == str(made.ids[2_000 // projection["sample"]["items"]])
    assert [len(values) for values in projection["sample"]["attributes"][0]["values"]][:2] == [8, 8]


def test_without_an_item_there_is_no_projection(tmp_path: Path) -> None:
    assert projecting.write(tmp_path, 0, tmp_path) == {"note": "There is no item to show."}
    assert not (tmp_path / projecting.FILE).exists()


def test_what_cannot_be_read_is_told_and_fails_nothing(tmp_path: Path) -> None:
    made = make_artifact(tmp_path, items=20, dimension=4, attributes={"year": ("int64", range(20))})
    (made.path / layout.ATTRIBUTES).write_bytes(b"no Arrow file")
    told = projecting.write(made.path, 20, tmp_path)
    assert told["note"].startswith("The projection of the items could not be made: ")
    assert [path.name for path in tmp_path.iterdir() if "projection" in path.name] == []


@pytest.mark.servers
@pytest.mark.django_db(transaction=True)
def test_a_build_leaves_the_projection_of_its_version(films, build_of, node):
    service = make_service(films, schema={"dimension": 4, "attributes": [{"name": "year", "type": "int64"}]})
    build = build_of(service, "20260101", items=60, attributes={"year": range(1960, 2020)})
    assert build.state == "SUCCEEDED", build.error_message
    projection = version_get(service, 1).projection
    assert projection.sample["ids"] == [str(number) for number in range(1, 61)]
    assert projection.sample["attributes"] == [{"name": "year", "values": list(range(1960, 2020))}]
    told = build.report["projection"]
    assert (told["items"], told["of"], told["shown"]) == (60, 60, projection.sample["shown"])
    assert 0.5 <= sum(told["shown"]) <= 1.0


@pytest.mark.servers
@pytest.mark.django_db(transaction=True)
def test_a_build_without_a_projection_makes_its_version_all_the_same(films_service, build_of, node, monkeypatch):
    monkeypatch.setattr(projecting, "FILE", "nobody-wrote-this.json")
    assert build_of(films_service, "20260101").state == "SUCCEEDED"
    assert not Projection.objects.exists()


@pytest.mark.django_db
def test_a_worker_that_lost_its_lease_leaves_no_projection(films_service):
    build = asked(films_service)
    slow = claimed(build)
    version = actions.version_reserve(slow)
    expired(build)
    claimed(build, owner="worker-2")
    with pytest.raises(FenceLost):
        actions.version_complete(slow, version=version, completed=ON_PAPER, projection=PROJECTION)
    assert not Projection.objects.exists()


@pytest.mark.django_db
def test_the_projection_goes_with_the_files_of_its_version(films_service):
    old, live = made_version(films_service), activated(made_version(films_service))
    for version in (old, live):
        Projection.objects.create(version=version, **PROJECTION)
    actions.version_files_deleted(version=old)
    assert Projection.objects.get().version == live
