"""Which efforts of an engine are worth trying, from what its search parameters say of themselves."""

from __future__ import annotations

from engines.description import EngineDescription

# Each effort is so many times the one before: what reaches a target is at most a quarter more than needed.
GRID_RATIO = 1.25
GRID_POINTS_MAX = 64


def effort_grid(description: EngineDescription, *, top_k: int, effort_max: int | None = None) -> list[int]:
    """Rising efforts for a search of `top_k` neighbours, the last one the highest that is allowed.

    `effort_max` bounds what the engine itself allows. Empty when the engine has no effort.
    """
    if description.effort is None:
        return []
    lowest, highest = bounds(description)
    if effort_max is not None:
        highest = max(lowest, min(highest, effort_max))
    if not description.effort.below_top_k:
        lowest = min(max(lowest, top_k), highest)
    grid = [lowest]
    while grid[-1] < highest and len(grid) < GRID_POINTS_MAX - 1:
        grid.append(min(highest, max(grid[-1] + 1, round(grid[-1] * GRID_RATIO))))
    return grid if grid[-1] == highest else [*grid, highest]


def bounds(description: EngineDescription) -> tuple[int, int]:
    """The least and the greatest value of the engine's effort. Raises ValueError when its model does not bound it."""
    assert description.effort is not None  # noqa: S101 - the caller has looked
    field = description.search_params_model.model_fields[description.effort.name]
    found = {name: getattr(rule, name) for rule in field.metadata for name in ("ge", "le") if hasattr(rule, name)}
    if found.keys() != {"ge", "le"}:
        raise ValueError(f"{description.name}: {description.effort.name} must be bounded on both sides")
    return int(found["ge"]), int(found["le"])
