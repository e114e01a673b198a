"""What was asked of a service, and what a spec would mean, as JSON."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from api.base import StrictSerializer

ITEMS_MAX = 2**40


class MetricsPointOut(serializers.Serializer[Any]):
    """One step; what nobody knows is null."""

    at = serializers.DateTimeField(help_text="When the step began.")
    queries_per_second = serializers.FloatField(help_text="A batch counts its queries.")
    p50_ms = serializers.FloatField(allow_null=True, help_text="From a call's arrival at the gateway to its answer.")
    p95_ms = serializers.FloatField(allow_null=True)
    p99_ms = serializers.FloatField(allow_null=True)
    errors = serializers.DictField(  # type: ignore[assignment]
        child=serializers.IntegerField(), help_text="Calls that ended otherwise than well, by gRPC code."
    )
    memory_bytes = serializers.IntegerField(allow_null=True, help_text="Of all replicas together.")
    version_age_seconds = serializers.IntegerField(
        allow_null=True, help_text="How old the version was that was live then."
    )
    version = serializers.IntegerField(allow_null=True, help_text="The version that was live then.")
    recall = serializers.FloatField(allow_null=True, help_text="Of that version, as its build measured it.")


class MetricsSwitchOut(serializers.Serializer[Any]):
    at = serializers.DateTimeField()
    kind = serializers.ChoiceField(choices=["activate", "rollback"])
    from_version = serializers.IntegerField(allow_null=True)
    to_version = serializers.IntegerField()
    actor = serializers.CharField()


class MetricsOut(serializers.Serializer[Any]):
    step_seconds = serializers.IntegerField()
    points = MetricsPointOut(many=True, help_text="Oldest first.")
    switches = MetricsSwitchOut(many=True, help_text="Activations and rollbacks in this time, oldest first.")


class EstimateIn(StrictSerializer):
    spec = serializers.DictField(help_text="A service's spec; of a service that is there, what is to change.")
    items = serializers.IntegerField(
        allow_null=True,
        default=None,
        min_value=1,
        max_value=ITEMS_MAX,
        help_text="How many are expected; more count when the newest drop holds more.",
    )


class ShareOut(serializers.Serializer[Any]):
    """One limit."""

    name = serializers.CharField()
    what = serializers.CharField()
    limit = serializers.IntegerField()
    used = serializers.IntegerField(help_text="By everything else.")
    need = serializers.IntegerField()
    left = serializers.IntegerField()
    fits = serializers.BooleanField()
    unit = serializers.CharField(help_text="`bytes`, or empty.")
    remedy = serializers.CharField(help_text="What to do when it does not fit.")


class EstimateFigures(serializers.Serializer[Any]):
    items = serializers.IntegerField()
    engine = serializers.CharField()
    reason = serializers.CharField(help_text="Why the platform chose that engine; empty when the spec names it.")
    params = serializers.DictField()
    build_bytes = serializers.IntegerField(help_text="Memory of the build at its peak.")
    replica_bytes = serializers.IntegerField(help_text="Memory of each replica.")
    stored_bytes = serializers.IntegerField(help_text="Files of one version.")
    replicas = serializers.IntegerField()
    loaded_versions = serializers.IntegerField(help_text="Live and those before it that stay loaded.")
    serving_bytes = serializers.IntegerField(help_text="All replicas of all loaded versions.")
    switching_bytes = serializers.IntegerField(help_text="The same while a new version is loaded beside them.")
    shares = ShareOut(many=True)


class EstimateOut(serializers.Serializer[Any]):
    """Nothing was registered or changed."""

    spec = serializers.DictField(help_text="With every default filled in.")
    exists = serializers.BooleanField(help_text="Whether the service is there, so that the spec was laid over its own.")
    estimate = EstimateFigures(allow_null=True, help_text="Null when nobody said how many items and no drop tells it.")
    fits = serializers.BooleanField(allow_null=True, help_text="Whether all limits are kept; null without an estimate.")
    drop = serializers.CharField(help_text="The drop that was looked into; empty when none could be.")
    problem = serializers.CharField(help_text="Why none could be, or what a build of that drop would fail with.")
    warnings = serializers.ListField(
        child=serializers.CharField(), help_text="What is right and may hold a build all the same, as sentences."
    )
