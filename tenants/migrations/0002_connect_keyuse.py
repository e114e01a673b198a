"""When keys were used, on which services, and from where."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("tenants", "0001_initial")]

    operations = [
        migrations.CreateModel(
            name="KeyUse",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("service", models.CharField(blank=True, max_length=63)),
                ("first_at", models.DateTimeField()),
                ("last_at", models.DateTimeField()),
                ("address", models.CharField(blank=True, max_length=64)),
                (
                    "key",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="uses", to="tenants.apikey"
                    ),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["service", "first_at"], name="key_use_first")],
                "constraints": [
                    models.UniqueConstraint(fields=("key", "service"), name="key_use_once_per_service")
                ],
            },
        ),
    ]
