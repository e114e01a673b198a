import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("versions", "0005_compare_versioncomparison"),
    ]

    operations = [
        migrations.CreateModel(
            name="Projection",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("sample", models.JSONField()),
                ("plane", models.JSONField()),
                (
                    "version",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="projection",
                        to="versions.version",
                    ),
                ),
            ],
            options={
                "abstract": False,
            },
        ),
    ]
