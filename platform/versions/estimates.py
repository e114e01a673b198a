"""Before anything is built: which engine a spec means, what a version is going to take, and what the quota leaves.

The same formula as admission's; that one corrects it by what was measured, which nobody has for a service to come.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from django.conf import settings

from catalog.models import Service
from catalog.selectors import living_services_of
from engines import registry
from tenants.models import Tenant
from versions.selectors import live_items, loaded_replicas
from versions.sizes import FLOAT32_BYTES, Plan, formula, held_bytes

# A limit of which so much is used is told before it is reached.
NEAR_PERCENT = 80
ASK_FOR_MORE = "Ask a platform administrator for more, or delete what is not needed."
BYTES = "bytes"


@dataclass(frozen=True)
class Share:
    """One limit: what is used of it, and what this needs beside that. `unit` is `bytes` or empty."""

    name: str
    what: str
    limit: int
    used: int
    need: int
    unit: str = ""
    remedy: str = ASK_FOR_MORE

    @property
    def left(self) -> int:
        return max(0, self.limit - self.used)

    @property
    def fits(self) -> bool:
        return self.need <= self.left

    @property
    def percent(self) -> int:
        """Of the limit, once this is there too."""
        return 100 * (self.used + self.need) // self.limit if self.limit else 100

    @property
    def is_near(self) -> bool:
        """Whether it fits and leaves so little that the next one may not."""
        return self.fits and self.percent >= NEAR_PERCENT


@dataclass(frozen=True)
class Estimate:
    """For `items` items; memory and files in bytes.

    `engine`, `reason`, `params`: what builds, and why when the platform chose it. `build_bytes`: memory of the build.
    `replica_bytes`: of each replica. `loaded_versions`: how many of them stay loaded (live and those before it) in
    `replicas` replicas each, `serving_bytes` together; `switching_bytes`: while a new one is loaded beside them.
    `stored_bytes`: files of one version.
    """

    items: int
    engine: str
    reason: str
    params: dict[str, Any]
    build_bytes: int
    replica_bytes: int
    stored_bytes: int
    replicas: int
    loaded_versions: int
    serving_bytes: int
    switching_bytes: int
    shares: tuple[Share, ...]

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        told = [{**asdict(share), "left": share.left, "fits": share.fits} for share in self.shares]
        return {**asdict(self), "shares": told}


def chosen_engine(spec: Mapping[str, Any], rows: int) -> tuple[str, str]:
    """The engine's name for so many rows, and why it was chosen when the platform chose it; `spec` is complete."""
    name = spec["engine"]["name"]
    if name != registry.AUTO:
        return name, ""
    schema = spec["schema"]
    choice = registry.choose(rows, schema["dimension"], filterable=bool(schema["attributes"]))
    return choice.name, choice.reason


def engine_params(spec: Mapping[str, Any], engine: str) -> dict[str, Any]:
    """Every parameter with which a complete spec has `engine` build."""
    params: dict[str, Any] = registry.describe(engine).params_model(**spec["engine"]["params"]).model_dump(mode="json")
    return params


def estimate(
    *, tenant: Tenant, spec: Mapping[str, Any], items: int, row_bytes: int, present: Service | None = None
) -> Estimate:
    """Of a complete spec of `tenant`; `row_bytes`: what a row takes beside its vector.

    `present`: the service whose spec this is going to be; None for a new one. What it takes now it gives back.
    """
    engine, reason = chosen_engine(spec, items)
    schema = spec["schema"]
    plan = Plan(
        engine=engine,
        params=engine_params(spec, engine),
        schema=schema,
        items=items,
        searchable=items,
        data_bytes=items * (FLOAT32_BYTES * schema["dimension"] + row_bytes),
    )
    sizes = formula(plan)
    replicas = spec["replicas"]["count"]
    loaded = spec["versions"]["keep"] if spec["versions"]["standby"] == "hot" else 1
    switching = sizes.replica * replicas * (loaded + 1)
    return Estimate(
        items=items,
        engine=engine,
        reason=reason,
        params=dict(plan.params),
        build_bytes=sizes.build,
        replica_bytes=sizes.replica,
        stored_bytes=sizes.artifact,
        replicas=replicas,
        loaded_versions=loaded,
        serving_bytes=sizes.replica * replicas * loaded,
        switching_bytes=switching,
        shares=_shares(tenant, spec, present, items=items, build=sizes.build, memory=switching),
    )


def _shares(
    tenant: Tenant, spec: Mapping[str, Any], present: Service | None, *, items: int, build: int, memory: int
) -> tuple[Share, ...]:
    quota = tenant.quota
    itself = present.pk if present else None
    own = [each for each in loaded_replicas() if each.version.service.tenant_id == tenant.pk]
    held = sum(held_bytes(each) for each in own if each.version.service_id != itself)
    live = sum(count for service, count in live_items(tenant).items() if service != itself)
    others = living_services_of(tenant).exclude(pk=itself or 0)
    cap = settings.BUILD_MEMORY_BYTES_MAX
    larger = "Choose smaller engine parameters or fewer items, or have RECALL_BUILD_MEMORY_BYTES_MAX raised."
    return (
        Share("services_max", "services", quota.services_max, others.count(), 1),
        Share("items_max", "items in live versions", quota.items_max, live, items),
        Share("memory_bytes_max", "memory, also while switching", quota.memory_bytes_max, held, memory, BYTES),
        Share("qps_max", "queries a second of one service", quota.qps_max, 0, spec["limits"]["qps"]),
        Share("build_memory_bytes_max", "memory of one build", cap, 0, build, BYTES, larger),
    )
