"""Alerts as JSON; `alerts.views` makes them."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from alerts.states import AlertEvent, AlertState, Channel, DeliveryState, Severity


class DeliveryOut(serializers.Serializer[Any]):
    """One message to one channel."""

    event = serializers.ChoiceField(choices=AlertEvent.choices)
    channel = serializers.ChoiceField(choices=Channel.choices)
    state = serializers.ChoiceField(choices=DeliveryState.choices)
    attempts = serializers.IntegerField()
    error = serializers.CharField(help_text="What the last attempt met; empty when it was taken.")
    sent_at = serializers.DateTimeField(allow_null=True)


class AlertOut(serializers.Serializer[Any]):
    number = serializers.IntegerField()
    service = serializers.CharField()
    state = serializers.ChoiceField(choices=AlertState.choices)
    severity = serializers.ChoiceField(choices=Severity.choices)
    reason = serializers.CharField(help_text="Stable, for example `drop.late`.")
    subject = serializers.CharField(help_text="What it is about, for example `build 12`; may be empty.")
    message = serializers.CharField()
    evidence = serializers.DictField()
    opened_at = serializers.DateTimeField()
    seen_at = serializers.DateTimeField(help_text="When it happened last.")
    count = serializers.IntegerField(help_text="How often it happened since it was opened.")
    acknowledged_by = serializers.CharField()
    acknowledged_at = serializers.DateTimeField(allow_null=True)
    resolved_at = serializers.DateTimeField(allow_null=True)
    deliveries = DeliveryOut(many=True)


class AlertPage(serializers.Serializer[Any]):
    alerts = AlertOut(many=True)
    next_page_token = serializers.CharField(help_text="Empty on the last page.")


class WebhookSecretOut(serializers.Serializer[Any]):
    secret = serializers.CharField(help_text="Under which webhooks of this tenant are signed.")
    before = serializers.CharField(help_text="The one before it, which signs too until then; else empty.")
    before_until = serializers.DateTimeField(allow_null=True)
