"""Every Celery task: ids in, one call out. Unknown arguments are taken, so that old and new may run side by side."""

from __future__ import annotations

from typing import Any

from celery import shared_task

from alerts import sending
from versions import routes
from workers import (
    aliases,
    audit,
    drafts,
    files,
    making_way,
    outside,
    pipeline,
    releasing,
    samples,
    sources,
    standby,
    sweep,
    traffic,
    version_comparisons,
)


@shared_task(name="build.run")
def run_build(build_id: int, **_unknown: Any) -> None:
    pipeline.run(build_id)


@shared_task(name="draft.read", time_limit=drafts.TASK_SECONDS_KILLED)
def read_draft(draft_id: int, **_unknown: Any) -> None:
    drafts.read_alone(draft_id)


@shared_task(name="comparison.run", time_limit=version_comparisons.TASK_SECONDS_KILLED)
def run_comparison(comparison_id: int, **_unknown: Any) -> None:
    version_comparisons.compute_alone(comparison_id)


@shared_task(name="routes.publish")
def publish_route(service_id: int, **_unknown: Any) -> None:
    routes.publish_quietly(service_id)


@shared_task(name="routes.publish_tenant")
def publish_tenant(tenant_id: int, **_unknown: Any) -> None:
    routes.publish_tenant_quietly(tenant_id)


@shared_task(name="sweep.builds")
def sweep_builds(**_unknown: Any) -> None:
    sweep.due_builds()
    making_way.make_way()


@shared_task(name="sweep.reports")
def sweep_reports(**_unknown: Any) -> None:
    sweep.collect_reports()
    sweep.join_replicas()
    standby.carry_on_reloads()


@shared_task(name="sweep.documents")
def sweep_documents(**_unknown: Any) -> None:
    sweep.reconcile_documents()


@shared_task(name="sweep.versions")
def sweep_versions(**_unknown: Any) -> None:
    sweep.replenish_versions()
    sweep.tend_held_builds()
    sweep.close_deleted_services()
    sweep.retire_versions()
    standby.cool_versions()


@shared_task(name="audit.replicas")
def audit_replicas(**_unknown: Any) -> None:
    audit.replicas_in_turn()


@shared_task(name="sweep.sources", time_limit=sources.TICK_SECONDS_KILLED)
def sweep_sources(**_unknown: Any) -> None:
    sources.notice_drops_alone()


@shared_task(name="sweep.drafts")
def sweep_drafts(**_unknown: Any) -> None:
    drafts.ring_for_waiting()
    drafts.expire()


@shared_task(name="sweep.comparisons")
def sweep_comparisons(**_unknown: Any) -> None:
    version_comparisons.ring_for_waiting()


@shared_task(name="sweep.files")
def sweep_files(**_unknown: Any) -> None:
    outside.alone(files.delete_files, files.delete_orphans)
    samples.delete_old()


@shared_task(name="sweep.aliases")
def sweep_aliases(**_unknown: Any) -> None:
    outside.alone(aliases.keep_aliases)


@shared_task(name="sweep.memory")
def sweep_memory(**_unknown: Any) -> None:
    outside.alone(releasing.release_idle)


@shared_task(name="sweep.alerts")
def sweep_alerts(**_unknown: Any) -> None:
    sending.send_due()


@shared_task(name="sweep.traffic")
def sweep_traffic(**_unknown: Any) -> None:
    traffic.collect_traffic()
