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
    schema = serializers.DictField(
        required=False, help_text="The block `schema` by which the sample is judged; absent: the suggested one."
    )
    columns = serializers.DictField(required=False, help_text="The block `source.columns`, if it is decided.")
    files = serializers.ListField(
        child=serializers.CharField(), required=False, help_text="The block `source.files`, if it is decided."
    )


class BadRowOut(serializers.Serializer[Any]):
    file = serializers.CharField()
    row = serializers.IntegerField(help_text="Counted from 1 among the data rows of its file.")
    reason = serializers.CharField()
    id = serializers.JSONField(allow_null=True)


class AttributeSeenOut(serializers.Serializer[Any]):
    name = serializers.CharField()
    type = serializers.CharField()
    nulls = serializers.IntegerField()
    distinct = serializers.IntegerField(help_text="Different values in the sample.")
    examples = serializers.ListField(child=serializers.CharField())


class ProblemOut(serializers.Serializer[Any]):
    reason = serializers.CharField()
    message = serializers.CharField()


class SampleCheckOut(serializers.Serializer[Any]):
    """What an import would make of a sample of the drop: the first rows of some of its files."""

    rows = serializers.IntegerField()
    files = serializers.IntegerField()
    good_rows = serializers.IntegerField()
    bad_rows = serializers.IntegerField()
    reasons = serializers.DictField(child=serializers.IntegerField(), help_text="Bad rows by reason.")
    bad = BadRowOut(many=True, help_text="The first of them.")
    shortest = serializers.FloatField(help_text="Length of the shortest vector of a good row.")
    mean_norm = serializers.FloatField()
    longest = serializers.FloatField()
    row_bytes = serializers.IntegerField(help_text="What a row takes beside its vector, on average.")
    attributes = AttributeSeenOut(many=True)
    problem = ProblemOut(allow_null=True, help_text="What a build of this drop would fail with.")


class SourceOut(serializers.Serializer[Any]):
    """What the newest drop there holds, and the schema it suggests."""

    drops = serializers.ListField(child=serializers.CharField(), help_text="The newest ones of the source.")
    drop = serializers.CharField(help_text="The one that was looked into.")
    complete = serializers.BooleanField()
    missing = serializers.CharField(help_text="What it lacks to be complete; empty when it is.")
    skipped = serializers.ListField(
        child=serializers.CharField(), help_text="Newer drops that a build would pass over, each with its reason."
    )
    format = serializers.CharField()
    files = serializers.IntegerField()
    bytes = serializers.IntegerField()
    rows = serializers.IntegerField(allow_null=True, help_text="Null when only reading everything would tell.")
    names = serializers.ListField(child=serializers.CharField(), help_text="The columns in their order.")
    found = serializers.DictField(child=serializers.CharField(), help_text="Column -> type.")
    sample = serializers.ListField(child=serializers.DictField(), help_text="The first rows; long lists are cut.")
    suggested_schema = serializers.DictField(help_text="The block `schema` of a service's spec.")
    why = serializers.CharField(help_text="The reason for the suggested metric.")
    columns = serializers.DictField(child=serializers.CharField(), help_text="The block `source.columns`.")
    source_files = serializers.ListField(child=serializers.CharField(), help_text="The block `source.files`.")
    notes = serializers.ListField(child=serializers.CharField())
    check = SampleCheckOut()
