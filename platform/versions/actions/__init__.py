"""Everything that writes rows of builds, versions, replicas and activations.

builds        asking for builds, cancel, retry, override
moves         what a build of a group asks of the others
demo          the demo's service, registered and built
admissions    who may take memory and disk next
lines         the log of a build
claims, runs  what a worker writes while it holds a build's fence
results       what a build finds and makes: its drop, its version
replicas      what nodes shall hold and what they report
health        what becomes of replicas that an audit found sick
alarms        what else is wrong with builds, switches and live versions, and when it is over
activations   the switch of the live pointer, the way back, and to nothing
standby       what is kept unloaded, and loaded again before it serves
comparisons   two versions beside each other, asked for by whoever looks
retirement    how versions go
sources       what a look at a source leads to
traffic       what was asked of services, for charts
"""

from versions.actions.activations import (
    activation_await,
    activation_settle,
    live_clear,
    reload_switch,
    version_activate,
    version_rollback,
)
from versions.actions.admissions import admission_take
from versions.actions.alarms import left_behind_alert, left_behind_alerts_end, room_alert, room_alerts_end
from versions.actions.builds import (
    DEMO,
    INDEXING,
    build_cancel,
    build_expire,
    build_hold_retell,
    build_make_way,
    build_override,
    build_request,
    build_resume,
    build_retry,
)
from versions.actions.claims import LEASE_SECONDS, CancelAsked, Claim, FenceLost, build_claim, lease_renew
from versions.actions.comparisons import (
    comparison_ask,
    comparison_done,
    comparison_failed,
    comparison_renew,
    comparison_take,
)
from versions.actions.demo import demo_load, demo_tenant
from versions.actions.epochs import epoch_raise
from versions.actions.health import (
    replica_audited,
    replica_forget_sickness,
    replica_join,
    replica_recover,
    replica_sicken,
    replica_treat,
)
from versions.actions.replicas import (
    node_report,
    orders_give,
    orders_withdraw,
    replica_drop,
    replica_report,
    replicas_let_in,
    replicas_place,
    replicas_reload,
    replicas_replenish,
)
from versions.actions.results import (
    Completed,
    drop_blame,
    drop_resolve,
    version_complete,
    version_measured,
    version_reserve,
    work_dir_set,
)
from versions.actions.retirement import (
    version_files_deleted,
    version_retire,
    version_retired,
    version_unload,
    version_unload_held,
    version_unrouted,
    work_dir_deleted,
)
from versions.actions.runs import (
    build_fail,
    build_hold,
    build_say,
    build_stop,
    build_succeed,
    build_wait,
    step_done,
    step_progress,
    step_start,
    steps_prepare,
    steps_redo,
)
from versions.actions.sources import Seen, must_look, source_looked, watch_take, watches_begin
from versions.actions.standby import (
    reload_end,
    reload_keep,
    reload_order,
    reload_orders,
    reload_place,
    reload_request,
    version_cool,
    version_unload_cold,
)
from versions.actions.traffic import traffic_prune, traffic_record

__all__ = [
    "DEMO",
    "INDEXING",
    "LEASE_SECONDS",
    "CancelAsked",
    "Claim",
    "Completed",
    "FenceLost",
    "Seen",
    "activation_await",
    "activation_settle",
    "admission_take",
    "build_cancel",
    "build_claim",
    "build_expire",
    "build_fail",
    "build_hold",
    "build_hold_retell",
    "build_make_way",
    "build_override",
    "build_request",
    "build_resume",
    "build_retry",
    "build_say",
    "build_stop",
    "build_succeed",
    "build_wait",
    "comparison_ask",
    "comparison_done",
    "comparison_failed",
    "comparison_renew",
    "comparison_take",
    "demo_load",
    "demo_tenant",
    "drop_blame",
    "drop_resolve",
    "epoch_raise",
    "lease_renew",
    "left_behind_alert",
    "left_behind_alerts_end",
    "live_clear",
    "must_look",
    "node_report",
    "orders_give",
    "orders_withdraw",
    "reload_end",
    "reload_keep",
    "reload_order",
    "reload_orders",
    "reload_place",
    "reload_request",
    "reload_switch",
    "replica_audited",
    "replica_drop",
    "replica_forget_sickness",
    "replica_join",
    "replica_recover",
    "replica_report",
    "replica_sicken",
    "replica_treat",
    "replicas_let_in",
    "replicas_place",
    "replicas_reload",
    "replicas_replenish",
    "room_alert",
    "room_alerts_end",
    "source_looked",
    "step_done",
    "step_progress",
    "step_start",
    "steps_prepare",
    "steps_redo",
    "traffic_prune",
    "traffic_record",
    "version_activate",
    "version_complete",
    "version_cool",
    "version_files_deleted",
    "version_measured",
    "version_reserve",
    "version_retire",
    "version_retired",
    "version_rollback",
    "version_unload",
    "version_unload_cold",
    "version_unload_held",
    "version_unrouted",
    "watch_take",
    "watches_begin",
    "work_dir_deleted",
    "work_dir_set",
]
