"""Guards: which numbers pass, which do not, and what is said of those."""

from __future__ import annotations

import pytest

from workers import guards

GUARDS = {
    "min_items": 10,
    "max_items": 1000,
    "max_drop_percent": 20,
    "max_drop_items": 50,
    "max_growth_percent": 300,
    "max_growth_items": None,
    "max_bad_row_percent": 1,
    "min_id_overlap_percent": 50,
    "max_norm_drift_percent": 50,
    "min_recall": 0.95,
    "max_p99_ratio": 1.3,
    "p99_floor_ms": 5,
}


@pytest.mark.parametrize(
    ("items", "live_items", "broken"),
    [
        (10, None, []),
        (9, None, ["min_items"]),
        (1000, None, []),
        (1001, None, ["max_items"]),
        (160, 200, []),
        (159, 200, ["max_drop_percent"]),
        (149, 200, ["max_drop_items", "max_drop_percent"]),
        (400, 100, []),
        (401, 100, ["max_growth_percent"]),
        (5, 0, ["min_items"]),
    ],
)
def test_counts_are_guarded_in_both_directions_absolutely_and_against_live(items, live_items, broken):
    found = guards.count_breaches(GUARDS, items=items, live_items=live_items)
    assert [each.name for each in found] == broken


def test_a_count_that_nobody_has_counted_is_called_a_promise():
    found = guards.count_breaches({**GUARDS, "min_items": 20}, items=10, live_items=1000, promised=True)
    assert len(found) > 1
    assert found[0].sentence.startswith("The manifest promises 10 items; at least 20 must be there")
    assert all(each.sentence.startswith("The manifest promises 10 items") for each in found)


def test_a_guard_that_is_null_guards_nothing():
    nothing = {**GUARDS, "max_drop_percent": None, "max_drop_items": None}
    assert guards.count_breaches(nothing, items=10, live_items=1000) == []


def test_bad_rows_are_guarded_by_their_share():
    assert guards.bad_row_breaches(GUARDS, bad_row_percent=1.0, reasons={"nan": 1}) == []
    [found] = guards.bad_row_breaches(GUARDS, bad_row_percent=10.0, reasons={"nan": 2000, "bad_id": 0, "zero_norm": 1})
    assert found.to_dict() == {"name": "max_bad_row_percent", "value": 10.0, "limit": 1, "what": "found"}
    assert found.sentence == (
        "10 % of the rows are bad (2,000 nan, 1 zero_norm); at most 1 % may be (guards.max_bad_row_percent)."
    )


@pytest.mark.parametrize(
    ("shared", "items", "live_items", "passes"),
    [(50, 100, 400, True), (49, 100, 400, False), (100, 400, 100, True), (0, 100, 0, True)],
)
def test_ids_overlap_by_their_share_of_the_smaller_set(shared, items, live_items, passes):
    found = guards.overlap_breaches(GUARDS, shared=shared, items=items, live_items=live_items)
    assert [each.name for each in found] == ([] if passes else ["min_id_overlap_percent"])


@pytest.mark.parametrize(("norm", "passes"), [(1.0, True), (0.5, True), (0.49, False), (1.5, True), (1.51, False)])
def test_norms_drift_in_both_directions(norm, passes):
    found = guards.norm_breaches(GUARDS, norm=norm, live_norm=1.0)
    assert [each.name for each in found] == ([] if passes else ["max_norm_drift_percent"])
    assert guards.norm_breaches(GUARDS, norm=norm, live_norm=0.0) == []


def test_a_figure_just_beyond_its_limit_is_seen_to_be():
    [found] = guards.bad_row_breaches(GUARDS, bad_row_percent=1.0001, reasons={"nan": 1})
    assert found.sentence.startswith("1.0001 % of the rows")
    found = guards.breach("min_recall", 0.94996, 0.95, "The recall is {}", "recall")
    assert found.sentence == "The recall is 0.94996; at least 0.95 is asked for (guards.min_recall)."


@pytest.mark.parametrize(("live_p99_ms", "limit_ms"), [(None, None), (10.0, 13.0), (4.0, 6.0), (1.0, 5.0)])
def test_a_p99_passes_at_the_ratio_or_a_little_above_live_or_under_the_floor(live_p99_ms, limit_ms):
    assert guards.p99_limit_ms(GUARDS, live_p99_ms=live_p99_ms) == limit_ms


def test_without_a_ratio_any_p99_passes():
    assert guards.p99_limit_ms({**GUARDS, "max_p99_ratio": None}, live_p99_ms=1.0) is None


def test_a_hold_says_each_number_beside_its_limit():
    breaches = guards.count_breaches(GUARDS, items=149, live_items=200)
    held = guards.hold(breaches, report={"counts": {}}, context={})
    assert held is not None
    assert (held.reason, held.message) == (
        "guard.max_drop_items",
        "149 items, 51 fewer than live (200); at most 50 fewer may be (guards.max_drop_items). "
        "149 items, 25.5 % fewer than live (200); at most 20 % fewer may be (guards.max_drop_percent).",
    )
    assert guards.hold([], report={}, context={}) is None
