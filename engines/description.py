"""What an engine says about itself. Imports neither numpy nor any engine library, so that a web process can read it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

Metric = Literal["ip", "cosine", "l2"]

# Each one costs every search a search, and a folder.
PARTITIONS_MAX = 64


class EngineParams(BaseModel):
    """Base of the typed parameters that stand in an engine's params.py; unknown names are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class Effort:
    """The search parameter that buys recall with time: a bounded whole number of `search_params_model`."""

    name: str
    below_top_k: bool  # Whether less of it than top_k is less work, too.


@dataclass(frozen=True)
class ItemBytes:
    """What one item of an index takes. Its row of the artifact's data files (vector, id, attributes) comes on top."""

    building: int  # Memory of the process that builds, without the mapped vectors.
    serving: int  # Memory of a process that searches, with the mapped vectors where every search reads them.
    stored: int  # Files of the index.


# From dimension, metric and the engine's own (complete) parameters.
ItemBytesOf = Callable[[int, Metric, Mapping[str, object]], ItemBytes]


class ParamFault(NamedTuple):
    """What is wrong with a parameter that is right in itself, as sentences for people with the remedy."""

    param: str
    message: str


# From dimension and the engine's own (complete) parameters, each of them right in itself.
ParamFaultsOf = Callable[[int, Mapping[str, object]], Iterable[ParamFault]]


def no_faults(_dimension: int, _params: Mapping[str, object]) -> Iterable[ParamFault]:
    """Of parameters that go together whatever they are, with vectors of any dimension."""
    return ()


def nothing_lacks() -> str:
    """An engine that is all in its library needs nothing configured."""
    return ""


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
    filters: bool  # A search can be told which rows are allowed.
    item_bytes: ItemBytesOf  # A build is admitted by it, before anything is built.
    param_faults: ParamFaultsOf = no_faults  # A spec is refused for them, before anything is built.
    effort: Effort | None = None  # None: nothing to tune.
    # The most hits that the index gives for a query; who wants more is answered by a scan of all rows. None: no limit.
    hits_max: int | None = None
    compact_params: Mapping[str, object] | None = None  # With these it takes far less memory; None: it cannot.
    # The file that names what of an index lies at a server, written before anything is made there; empty: the index is
    # its files.
    reference_file: str = ""
    # What keeps this process from using it, as a sentence for people with the remedy; empty: nothing.
    lacks: Callable[[], str] = nothing_lacks

    @property
    def remote(self) -> bool:
        """Whether the index lies at a server, and its files only name it."""
        return bool(self.reference_file)
