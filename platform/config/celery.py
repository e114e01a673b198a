"""The Celery application, shared by those who ring (the console) and those who work (workers.app)."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

app = Celery("recall")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.set_default()
