import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("catalog", "0001_initial"),
        ("versions", "0003_health"),
    ]

    operations = [
        migrations.CreateModel(
            name="TrafficSpan",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("at", models.DateTimeField(db_index=True)),
                ("queries", models.PositiveBigIntegerField(default=0)),
                ("codes", models.JSONField(default=dict)),
                ("counts", models.JSONField(default=list)),
                ("rss_bytes", models.PositiveBigIntegerField(default=0)),
                (
                    "service",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="traffic", to="catalog.service"
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("service", "at"), name="traffic_once_per_span"),
                ],
            },
        ),
    ]
