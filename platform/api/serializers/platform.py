"""Audit events, nodes, health, discovery and sources as JSON."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from api.base import StrictSerializer


class AuditEventOut(serializers.Serializer[Any]):
    at = serializers.DateTimeField()
    actor = serializers.CharField(help_text="A user name, `key:<prefix>`, or `platform`.")
    actor_kind = serializers.ChoiceField(choices=["user", "key", "system"])
    address = serializers.CharField()
    request_id = serializers.CharField()
    service = serializers.CharField()
    verb = serializers.CharField(help_text="`<entity>.<action>`, for example `service.rollback`.")
    target = serializers.CharField()
    reason = serializers.CharField()
    before = serializers.DictField(allow_null=True)
    after = serializers.DictField(allow_null=True)


class AuditPage(serializers.Serializer[Any]):
    events = AuditEventOut(many=True)
    next_page_token = serializers.CharField(help_text="Empty on the last page.")


class HealthOut(serializers.Serializer[Any]):
    status = serializers.CharField(help_text="`ok`, `degraded`, or `down` when the database is (with status 503).")
    database = serializers.CharField(help_text="`ok` or `down`.")
    redis = serializers.CharField(help_text="`ok` or `down`.")
    gateways = serializers.CharField(help_text="`ok`, `down`, or `unknown` while Redis is down.")


class DiscoveryOut(serializers.Serializer[Any]):
    """What a gRPC client needs to find a service."""

    service = serializers.CharField(help_text="`tenants/{tenant}/services/{service}`, as requests name it.")
    gateway = serializers.CharField(help_text="A gRPC target, host:port.")


class SourceInspect(StrictSerializer):
    uri = serializers.CharField(help_text="For example `file:movies/`, relative to the tenant's root.")


class SourceOut(serializers.Serializer[Any]):
    """What the newest drop there holds, and the schema it suggests."""

    drop = serializers.CharField()
    complete = serializers.BooleanField()
    missing = serializers.CharField(help_text="What it lacks to be complete; empty when it is.")
    skipped = serializers.ListField(
        child=serializers.CharField(), help_text="Newer drops that a build would pass over, each with its reason."
    )
    format = serializers.CharField()
    files = serializers.IntegerField()
    bytes = serializers.IntegerField()
    rows = serializers.IntegerField(allow_null=True, help_text="Null when only reading everything would tell.")
    found = serializers.DictField(child=serializers.CharField(), help_text="Column -> type.")
    sample = serializers.ListField(child=serializers.DictField(), help_text="The first rows; long lists are cut.")
    suggested_schema = serializers.DictField(help_text="The block `schema` of a service's spec.")
    why = serializers.CharField(help_text="The reason for the suggested metric.")
    columns = serializers.DictField(child=serializers.CharField(), help_text="The block `source.columns`.")
    source_files = serializers.ListField(child=serializers.CharField(), help_text="The block `source.files`.")
    notes = serializers.ListField(child=serializers.CharField())
