"""Two versions side by side as JSON; `versions.comparisons` makes them."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

OTHER = "Of the version that it is compared to."


class ChangeOut(serializers.Serializer[Any]):
    name = serializers.CharField()
    # Any JSON, null too.
    value = serializers.JSONField(help_text="Null where this version has no such thing.")
    to = serializers.JSONField(help_text=OTHER)
    differs = serializers.BooleanField()


class FigureOut(ChangeOut):
    difference = serializers.FloatField(allow_null=True, help_text="`value` less `to`.")


class IdSamplesOut(serializers.Serializer[Any]):
    added = serializers.ListField(child=serializers.CharField(), required=False)
    removed = serializers.ListField(child=serializers.CharField(), required=False)
    kept = serializers.ListField(child=serializers.CharField(), required=False)


class ItemsComparedOut(serializers.Serializer[Any]):
    added = serializers.IntegerField(help_text="Items that this version has and the other has not.")
    removed = serializers.IntegerField(help_text="Items that the other has and this one has not.")
    kept = serializers.IntegerField()
    samples = IdSamplesOut(help_text="A few ids of each.")
    measured = serializers.CharField(help_text="By what they were counted.")


class AnswersComparedOut(serializers.Serializer[Any]):
    measured = serializers.CharField(help_text="By replicas when it was built, or by exact search.")
    asked = serializers.CharField(
        help_text="`features`, `vectors`, `items` (each version by its own vector of the same items), or `replicas`: "
        "whatever its build asked."
    )
    queries = serializers.IntegerField(allow_null=True)
    at = serializers.IntegerField(help_text="The length of the lists that are compared.")
    overlap = serializers.FloatField(help_text="The share of common items in the answers of both, 0 to 1.")
    gone = serializers.FloatField(
        allow_null=True, help_text="The share of the other's answers whose items this version does not have."
    )
    new = serializers.FloatField(
        allow_null=True, help_text="The share of this one's answers whose items the other does not have."
    )
    mean_score = serializers.FloatField(allow_null=True)
    to_mean_score = serializers.FloatField(allow_null=True)
    score_drift_percent = serializers.FloatField(allow_null=True)
    p99_ms = serializers.FloatField(allow_null=True, help_text="Where replicas of both were asked in turns.")
    to_p99_ms = serializers.FloatField(allow_null=True)


class CurvePointOut(serializers.Serializer[Any]):
    effort = serializers.FloatField(allow_null=True)
    recall = serializers.FloatField()
    ms = serializers.FloatField()
    chosen = serializers.BooleanField()


class CurveOut(serializers.Serializer[Any]):
    effort = serializers.CharField(help_text="The search parameter that was tried.")
    at = serializers.IntegerField(allow_null=True)
    points = CurvePointOut(many=True)


class CurvesOut(serializers.Serializer[Any]):
    value = CurveOut(allow_null=True)
    to = CurveOut(allow_null=True, help_text=OTHER)


class MomentsOut(serializers.Serializer[Any]):
    value = serializers.DateTimeField(allow_null=True)
    to = serializers.DateTimeField(allow_null=True, help_text=OTHER)


class ComparisonErrorOut(serializers.Serializer[Any]):
    reason = serializers.CharField()
    message = serializers.CharField()
    again_at = serializers.DateTimeField(
        allow_null=True, help_text="Whoever asks after this time has it tried again; null when it cannot be."
    )


class ComparisonOut(serializers.Serializer[Any]):
    version = serializers.IntegerField()
    to = serializers.IntegerField(help_text="The version that it is compared to.")
    state = serializers.CharField(help_text="ASKED, RUNNING, DONE, FAILED or UNAVAILABLE, of `items` and `answers`.")
    final = serializers.BooleanField(help_text="Whether nothing more is to come: until then ask again.")
    progress = serializers.FloatField(allow_null=True, help_text="0 to 1 of what is being done; null: not known.")
    notes = serializers.ListField(child=serializers.CharField(), help_text="What could not be compared, and why.")
    error = ComparisonErrorOut(allow_null=True)
    figures = FigureOut(many=True)
    schema = ChangeOut(many=True, help_text="The fields that differ.")
    parameters = ChangeOut(many=True)
    items = ItemsComparedOut(allow_null=True)
    answers = AnswersComparedOut(allow_null=True)
    curves = CurvesOut()
    steps = ChangeOut(many=True, help_text="Seconds that each step of their builds took.")
    completed_at = MomentsOut()
