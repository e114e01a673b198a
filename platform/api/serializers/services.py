"""Services and the verbs on them as JSON. What a spec may say, `catalog.spec` says."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from api.base import StrictSerializer


class SpecOut(serializers.Serializer[Any]):
    """The blocks of a spec, with every default filled in."""

    schema = serializers.DictField()
    source = serializers.DictField()  # type: ignore[assignment]
    engine = serializers.DictField()
    search = serializers.DictField()
    guards = serializers.DictField()
    versions = serializers.DictField()
    replicas = serializers.DictField()
    limits = serializers.DictField()
    notify = serializers.DictField()


class ServiceLive(serializers.Serializer[Any]):
    version = serializers.IntegerField()
    items = serializers.IntegerField()
    recall = serializers.FloatField(allow_null=True)
    p99_ms = serializers.FloatField(allow_null=True)


class ServiceHeld(serializers.Serializer[Any]):
    at = serializers.DateTimeField()
    reason = serializers.CharField()
    on_release = serializers.CharField(help_text="What happens when the hold ends.")


class ServiceLastBuild(serializers.Serializer[Any]):
    number = serializers.IntegerField()
    state = serializers.CharField()


class ServiceWatch(serializers.Serializer[Any]):
    drop = serializers.CharField(help_text="The newest complete drop that was seen; empty when there was none.")
    seen_at = serializers.DateTimeField(allow_null=True, help_text="When it was first seen.")
    looked_at = serializers.DateTimeField()
    problem = serializers.CharField(help_text="Why the last look found no complete drop, or none that can be opened.")
    due_at = serializers.DateTimeField(allow_null=True, help_text="With a cron expression: when it is due next.")
    late_since = serializers.DateTimeField(allow_null=True, help_text="Set while the alert drop.late stands.")


class ServiceOut(SpecOut):
    """The spec, and what has become of it."""

    name = serializers.CharField()
    tenant = serializers.CharField()
    spec_generation = serializers.IntegerField(help_text="Rises with each change of the spec.")
    live_version = serializers.IntegerField(allow_null=True)
    live_generation = serializers.IntegerField(help_text="Rises with each activation and rollback.")
    live = ServiceLive(allow_null=True)
    held = ServiceHeld(allow_null=True, help_text="Set while on hold: nothing is activated by itself.")
    last_build = ServiceLastBuild(allow_null=True)
    watch = ServiceWatch(allow_null=True, help_text="What the watcher of the source saw; null before its first look.")
    moves_with = serializers.ListField(
        child=serializers.CharField(), help_text="The other services of its group (versions.group)."
    )
    created_at = serializers.DateTimeField()
    created_by = serializers.CharField()


class ServicePage(serializers.Serializer[Any]):
    services = ServiceOut(many=True)
    next_page_token = serializers.CharField(help_text="Empty on the last page.")


class ServicePatchIn(serializers.Serializer[Any]):
    """The blocks to change; inside a block, what is left out stays. A name never changes."""

    schema = serializers.DictField(required=False)
    source = serializers.DictField(required=False)  # type: ignore[assignment]
    engine = serializers.DictField(required=False)
    search = serializers.DictField(required=False)
    guards = serializers.DictField(required=False)
    versions = serializers.DictField(required=False)
    replicas = serializers.DictField(required=False)
    limits = serializers.DictField(required=False)
    notify = serializers.DictField(required=False)


class ReasonIn(StrictSerializer):
    reason = serializers.CharField(allow_blank=True, default="")


class ReasonRequiredIn(StrictSerializer):
    reason = serializers.CharField(help_text="Stands in the audit trail.")


class BuildIn(StrictSerializer):
    drop = serializers.CharField(allow_blank=True, default="", max_length=255, help_text="Empty: the newest complete.")
    force = serializers.BooleanField(default=False, help_text="Build even what was built before.")


class SwitchIn(ReasonIn):
    anyway = serializers.BooleanField(
        default=False, help_text="Also to a version that answers nobody just now (VERSION_NOT_WELL)."
    )


class ActivateIn(SwitchIn):
    version = serializers.IntegerField(min_value=1, max_value=2**31 - 1)
    expected_live_generation = serializers.IntegerField(
        allow_null=True,
        default=None,
        min_value=0,
        max_value=2**31 - 1,
        help_text="When given and not the service's any more, nothing changes.",
    )


class RollbackIn(SwitchIn):
    from_version = serializers.IntegerField(
        allow_null=True,
        default=None,
        min_value=1,
        max_value=2**31 - 1,
        help_text="When given and not live any more, nothing changes.",
    )


class ActivationOut(serializers.Serializer[Any]):
    """A switch of the live pointer."""

    kind = serializers.ChoiceField(choices=["activate", "rollback"])
    from_version = serializers.IntegerField(allow_null=True)
    to_version = serializers.IntegerField()
    live_generation = serializers.IntegerField()
    state = serializers.CharField(help_text="PENDING, LAGGING or COMPLETE: do all gateways serve it? LOADING: first.")
    laggards = serializers.ListField(child=serializers.CharField(), help_text="Gateways that do not serve it yet.")
    actor = serializers.CharField()
    reason = serializers.CharField(allow_blank=True)
    at = serializers.DateTimeField()
    completed_at = serializers.DateTimeField(allow_null=True)
    changed = serializers.BooleanField(help_text="False when there was nothing to change.")
    loading = serializers.CharField(help_text="What happens first and how long it takes; empty when it has happened.")
