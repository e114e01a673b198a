"""Builds, versions and replicas as JSON; `versions.views` makes them."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

REPORT_HELP = (
    "What the steps found. `evidence` lists every check as {name, what, value, bound, limit, unit, verdict, note}; the "
    "verdict is pass, warn or hold. `tune` is the curve of search effort, recall and milliseconds. `index.places` "
    "names the servers at which the index is; empty: it is files."
)


class BuildStepOut(serializers.Serializer[Any]):
    name = serializers.CharField()
    does = serializers.CharField(help_text="What the step does, in words.")
    state = serializers.CharField(help_text="PENDING, RUNNING, HELD, DONE, FAILED or CANCELLED.")
    progress = serializers.FloatField(allow_null=True, help_text="0 to 1; null when the step cannot tell.")
    rate = serializers.FloatField(allow_null=True, help_text="Rows per second.")
    eta_seconds = serializers.FloatField(allow_null=True)
    detail = serializers.CharField()
    started_at = serializers.DateTimeField(allow_null=True)
    ended_at = serializers.DateTimeField(allow_null=True)


class BuildErrorOut(serializers.Serializer[Any]):
    """Cause, effect and next step."""

    reason = serializers.CharField(help_text="Stable, for example `drop.dimension_mismatch`.")
    owner = serializers.CharField(help_text="`user` or `platform`: who can correct it.")
    message = serializers.CharField()
    effect = serializers.CharField()
    next_step = serializers.CharField()


class MovesWithOut(serializers.Serializer[Any]):
    service = serializers.CharField()
    build = serializers.IntegerField()


class BuildOut(serializers.Serializer[Any]):
    number = serializers.IntegerField()
    state = serializers.CharField(help_text="PENDING, RUNNING, HELD, SUCCEEDED, FAILED or CANCELLED.")
    step = serializers.CharField(help_text="Where it is or stopped; empty before the first and after the last.")
    steps = BuildStepOut(many=True)
    drop = serializers.DictField(help_text="`name`, `fingerprint` and what the drop said of itself.")
    version = serializers.IntegerField(allow_null=True)
    error = BuildErrorOut(allow_null=True)
    report = serializers.DictField(help_text=REPORT_HELP)
    overrides = serializers.DictField(help_text="What an operator let pass: step -> reason of the hold -> why.")
    force = serializers.BooleanField()
    cancel_requested = serializers.BooleanField()
    moves_with = MovesWithOut(
        allow_null=True, help_text="Whose build it was asked for by, so that its group moves together; else null."
    )
    requested_by = serializers.CharField()
    requested_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    ended_at = serializers.DateTimeField(allow_null=True)


class BuildLineOut(serializers.Serializer[Any]):
    at = serializers.DateTimeField()
    step = serializers.CharField(help_text="Empty when it is about the build as a whole.")
    level = serializers.CharField(help_text="info, warning or error.")
    text = serializers.CharField()


class BuildDetailOut(BuildOut):
    retry_from = serializers.CharField(help_text="Where a retry goes on, if the build has failed.")
    log = BuildLineOut(many=True, help_text="What the build said, oldest first; its newest 300 lines.")


class BuildPage(serializers.Serializer[Any]):
    builds = BuildOut(many=True)
    next_page_token = serializers.CharField(help_text="Empty on the last page.")


class VersionEngineOut(serializers.Serializer[Any]):
    name = serializers.CharField()
    params = serializers.DictField()
    reason = serializers.CharField(help_text="Why `auto` chose it; empty where the spec names it.")


class VersionBadOut(serializers.Serializer[Any]):
    at = serializers.DateTimeField()
    reason = serializers.CharField()


class VersionOut(serializers.Serializer[Any]):
    number = serializers.IntegerField()
    state = serializers.CharField(help_text="BUILDING, READY, RETIRING, RETIRED or FAILED.")
    why = serializers.CharField(help_text="Why it is FAILED or RETIRING; else empty.")
    retires_at = serializers.DateTimeField(
        allow_null=True, help_text="While RETIRING: when it is RETIRED and its files go, at the earliest."
    )
    live = serializers.BooleanField()
    cold = serializers.BooleanField(help_text="Kept unloaded (versions.standby: cold) until it is to serve.")
    activatable = serializers.BooleanField(help_text="Whether a person may make it live.")
    items = serializers.IntegerField()
    searchable_items = serializers.IntegerField()
    bytes = serializers.IntegerField()
    engine = VersionEngineOut()
    places = serializers.ListField(
        child=serializers.CharField(),
        help_text="The servers at which its index is, by the names that administrators gave them; empty: it is files.",
    )
    search_params = serializers.DictField()
    recall = serializers.FloatField(allow_null=True)
    p99_ms = serializers.FloatField(allow_null=True)
    model_version = serializers.CharField()
    build = serializers.IntegerField()
    schema = serializers.DictField()
    created_at = serializers.DateTimeField()
    created_by = serializers.CharField()
    completed_at = serializers.DateTimeField(allow_null=True)
    activated_at = serializers.DateTimeField(allow_null=True)
    bad = VersionBadOut(allow_null=True, help_text="Set when somebody rolled back from it.")
    report = serializers.DictField(help_text=REPORT_HELP)


class VersionPage(serializers.Serializer[Any]):
    versions = VersionOut(many=True)
    next_page_token = serializers.CharField(help_text="Empty on the last page.")


class SickOut(serializers.Serializer[Any]):
    reason = serializers.CharField(help_text="WRONG, FROZEN, SLOW, STALE or FAILED.")
    since = serializers.DateTimeField()


class ReplicaOut(serializers.Serializer[Any]):
    id = serializers.CharField()
    version = serializers.IntegerField()
    node = serializers.CharField()
    state = serializers.CharField(help_text="WANTED, LOADING, READY, FAILED or WITHDRAWN.")
    address = serializers.CharField()
    items = serializers.IntegerField()
    rss_bytes = serializers.IntegerField()
    respawns = serializers.IntegerField()
    error = serializers.CharField()
    verdict = serializers.CharField(help_text="Of the newest audit: OK, or as `sick.reason`. Empty before the first.")
    agreement = serializers.FloatField(allow_null=True, help_text="Share of known neighbours that were found, 0 to 1.")
    p99_ms = serializers.FloatField(allow_null=True, help_text="The worst p99 of the last audits' known queries.")
    served_version = serializers.IntegerField(allow_null=True, help_text="What the process says that it serves.")
    skewed = serializers.BooleanField(help_text="Whether that is another version than was placed.")
    routed = serializers.BooleanField(help_text="Whether gateways may ask it.")
    sick = SickOut(allow_null=True)
    cures = serializers.IntegerField(help_text="How often it was restarted and checked because it was sick.")
    audited_at = serializers.DateTimeField(allow_null=True)
    changed_at = serializers.DateTimeField()


class ReplicaPage(serializers.Serializer[Any]):
    replicas = ReplicaOut(many=True)
    next_page_token = serializers.CharField(help_text="Empty on the last page.")


class NodeOut(serializers.Serializer[Any]):
    name = serializers.CharField()
    cpu_count = serializers.IntegerField()
    memory_total_bytes = serializers.IntegerField()
    memory_available_bytes = serializers.IntegerField()
    seen_at = serializers.DateTimeField(allow_null=True)


class NodePage(serializers.Serializer[Any]):
    nodes = NodeOut(many=True)
    next_page_token = serializers.CharField(help_text="Empty on the last page.")
