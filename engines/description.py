"""What an engine says about itself. Imports neither numpy nor any engine library, so that a web process can read it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict

Metric = Literal["ip", "cosine", "l2"]


class EngineParams(BaseModel):
    """Base of the typed parameters that stand in an engine's params.py; unknown names are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class Effort:
    """The search parameter that buys recall with time: a bounded whole number of `search_params_model`."""

    name: str
    below_top_k: bool  # Whether less of it than top_k is less work, too.


@dataclass(frozen=True)
class EngineDescription:
    """An engine's abilities as data; nobody asks for its name to know what it can do."""

    name: str
    summary: str
    params_model: type[EngineParams]
    search_params_model: type[EngineParams]
    metrics: tuple[Metric, ...]
    exact: bool  # Every answer is exact, whatever the effort.
    recall_floor: float  # Recall@10 that the conformance data must reach with default parameters.
    loads_without_stalling: bool  # It may be opened inside a process that is serving.
    effort: Effort | None = None  # None: nothing to tune.
