from django.apps import AppConfig


class ApiConfig(AppConfig):
    """Imports nothing: workers are of the same Django project, and need neither views nor their schema."""

    name = "api"
