from django.apps import AppConfig


class ApiConfig(AppConfig):
    name = "api"

    def ready(self) -> None:
        # drf-spectacular learns of the authentication schemes when their classes are made.
        import api.schema  # noqa: F401
