import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("versions", "0004_trafficspan"),
    ]

    operations = [
        migrations.CreateModel(
            name="VersionComparison",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "state",
                    models.CharField(
                        choices=[("ASKED", "Asked"), ("RUNNING", "Running"), ("DONE", "Done"), ("FAILED", "Failed")],
                        default="ASKED",
                        max_length=10,
                    ),
                ),
                ("asked_at", models.DateTimeField()),
                ("takes", models.PositiveSmallIntegerField(default=0)),
                ("taken_until", models.DateTimeField(blank=True, null=True)),
                ("progress", models.FloatField(blank=True, null=True)),
                ("result", models.JSONField(default=dict)),
                ("problem_reason", models.CharField(blank=True, max_length=100)),
                ("problem", models.TextField(blank=True)),
                ("ended_at", models.DateTimeField(blank=True, null=True)),
                (
                    "other",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="comparisons_beside",
                        to="versions.version",
                    ),
                ),
                (
                    "version",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="comparisons", to="versions.version"
                    ),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["state", "asked_at"], name="comparison_queue")],
                "constraints": [
                    models.UniqueConstraint(fields=("version", "other"), name="comparison_once_per_pair"),
                ],
            },
        ),
    ]
