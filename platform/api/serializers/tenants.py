"""Tenants, quotas, members and keys as JSON. Shape only; what values are allowed, the actions say."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from api.base import StrictSerializer
from tenants.actions import KEY_OVERLAP_SECONDS
from tenants.models import Role, Scope


class TenantCreate(StrictSerializer):
    name = serializers.CharField(help_text="Lower case, digits, hyphens; never changes.")
    title = serializers.CharField(allow_blank=True, default="")


class TenantPatch(StrictSerializer):
    title = serializers.CharField(allow_blank=True)


class TenantOut(serializers.Serializer[Any]):
    name = serializers.CharField()
    title = serializers.CharField()
    created_at = serializers.DateTimeField()


class TenantPage(serializers.Serializer[Any]):
    tenants = TenantOut(many=True)
    next_page_token = serializers.CharField(help_text="Empty on the last page.")


class QuotaPatch(StrictSerializer):
    """Those that are given change; the others stay."""

    services_max = serializers.IntegerField(required=False)
    items_max = serializers.IntegerField(required=False)
    memory_bytes_max = serializers.IntegerField(required=False)
    qps_max = serializers.IntegerField(required=False)
    builds_at_once_max = serializers.IntegerField(required=False)


class QuotaOut(serializers.Serializer[Any]):
    services_max = serializers.IntegerField()
    items_max = serializers.IntegerField()
    memory_bytes_max = serializers.IntegerField()
    qps_max = serializers.IntegerField(help_text="Queries a second, of all services together.")
    builds_at_once_max = serializers.IntegerField()


class MemberCreate(StrictSerializer):
    username = serializers.CharField()
    role = serializers.ChoiceField(choices=Role.choices, default=Role.VIEWER)
    password = serializers.CharField(
        allow_null=True,
        default=None,
        trim_whitespace=False,
        write_only=True,
        help_text="Only for a new person, who is made with it; without, they must exist.",
    )


class MemberPatch(StrictSerializer):
    role = serializers.ChoiceField(choices=Role.choices)


class MemberOut(serializers.Serializer[Any]):
    username = serializers.CharField(source="user.username")
    role = serializers.ChoiceField(choices=Role.choices)
    created_at = serializers.DateTimeField()


class MemberPage(serializers.Serializer[Any]):
    members = MemberOut(many=True)
    next_page_token = serializers.CharField(help_text="Empty on the last page.")


class KeyCreate(StrictSerializer):
    scope = serializers.ChoiceField(choices=Scope.choices, help_text="Each includes those before it.")
    service = serializers.CharField(allow_blank=True, default="", help_text="Empty: every service of the tenant.")
    name = serializers.CharField(allow_blank=True, default="")
    expires_at = serializers.DateTimeField(allow_null=True, default=None)


class KeyRotate(StrictSerializer):
    overlap_seconds = serializers.IntegerField(
        default=KEY_OVERLAP_SECONDS, help_text="How long the old key still works."
    )


class KeyOut(serializers.Serializer[Any]):
    """Never the key itself, of which only a digest is kept."""

    prefix = serializers.CharField(help_text="The public part; names the key in URLs.")
    name = serializers.CharField()
    scope = serializers.ChoiceField(choices=Scope.choices)
    service = serializers.CharField(help_text="Empty: every service of the tenant.")
    created_at = serializers.DateTimeField()
    created_by = serializers.CharField()
    expires_at = serializers.DateTimeField(allow_null=True)
    last_used_at = serializers.DateTimeField(
        allow_null=True, help_text="Within ten minutes; calls over gRPC are not recorded."
    )
    revoked_at = serializers.DateTimeField(allow_null=True)
    rotated_at = serializers.DateTimeField(allow_null=True, help_text="When a newer key took over.")


class NewKeyOut(KeyOut):
    key = serializers.CharField(help_text="The whole key, shown this once.")


class KeyPage(serializers.Serializer[Any]):
    keys = KeyOut(many=True)
    next_page_token = serializers.CharField(help_text="Empty on the last page.")
