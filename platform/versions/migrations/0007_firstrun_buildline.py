import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("versions", "0006_projection_projection"),
    ]

    operations = [
        migrations.CreateModel(
            name="BuildLine",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("at", models.DateTimeField(auto_now_add=True)),
                ("step", models.CharField(blank=True, max_length=40)),
                (
                    "level",
                    models.CharField(
                        choices=[("info", "Info"), ("warning", "Warning"), ("error", "Error")],
                        default="info",
                        max_length=10,
                    ),
                ),
                ("text", models.CharField(max_length=500)),
                (
                    "build",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="lines", to="versions.build"
                    ),
                ),
            ],
            options={"ordering": ["pk"]},
        ),
    ]
