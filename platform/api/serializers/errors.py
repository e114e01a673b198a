"""The one shape of every error."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers


class ErrorSerializer(serializers.Serializer[Any]):
    code = serializers.CharField(help_text="A name of google.rpc.Code.")
    reason = serializers.CharField(help_text="UPPER_SNAKE and stable; what programs compare.")
    message = serializers.CharField(help_text="For people; names the remedy.")
    details = serializers.ListField(
        child=serializers.DictField(), help_text="One {field, message} for each fault of the input."
    )


class ErrorBody(serializers.Serializer[Any]):
    error = ErrorSerializer()
