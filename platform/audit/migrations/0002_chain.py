"""Chains the events that are there, and from here on refuses to change them."""

from django.db import migrations, models
from django.utils import timezone

from audit import guards
from audit.chain import GENESIS, digest_of

ROWS_AT_ONCE = 500


def chain_what_is_there(apps, schema_editor):
    """In the order of the rows."""
    event_model, head_model = apps.get_model("audit", "AuditEvent"), apps.get_model("audit", "AuditHead")
    position, digest, last_pk = 0, GENESIS, 0
    while events := list(event_model.objects.filter(pk__gt=last_pk).order_by("pk")[:ROWS_AT_ONCE]):
        for event in events:
            position += 1
            event.position, event.previous = position, digest
            event.digest = digest = digest_of(event, position=position, previous=event.previous)
            last_pk = event.pk
        event_model.objects.bulk_update(events, ["position", "previous", "digest"])
    head_model.objects.create(pk=1, position=position, digest=digest)


def install_guards(apps, schema_editor):
    guards.install(schema_editor.connection)


def remove_guards(apps, schema_editor):
    guards.remove(schema_editor.connection)


class Migration(migrations.Migration):

    dependencies = [
        ('audit', '0001_initial'),
    ]

    operations = [
        migrations.CreateModel(
            name='AuditHead',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('position', models.PositiveBigIntegerField(default=0)),
                ('digest', models.CharField(max_length=64)),
            ],
        ),
        migrations.AlterField(
            model_name='auditevent',
            name='at',
            field=models.DateTimeField(default=timezone.now, editable=False),
        ),
        migrations.AddField(
            model_name='auditevent',
            name='position',
            field=models.PositiveBigIntegerField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name='auditevent',
            name='previous',
            field=models.CharField(default='', editable=False, max_length=64),
            preserve_default=False,
        ),
        migrations.AddField(
            model_name='auditevent',
            name='digest',
            field=models.CharField(default='', editable=False, max_length=64),
            preserve_default=False,
        ),
        migrations.RunPython(chain_what_is_there, migrations.RunPython.noop, elidable=False),
        migrations.AlterField(
            model_name='auditevent',
            name='position',
            field=models.PositiveBigIntegerField(editable=False, unique=True),
        ),
        migrations.RunPython(install_guards, remove_guards, elidable=False),
    ]
