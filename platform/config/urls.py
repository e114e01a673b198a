"""Every URL of the control plane."""

from django.urls import include, path

urlpatterns = [
    path("api/v1/", include("api.urls")),
    path("internal/", include("api.internal_urls")),
    path("", include("console.urls")),
]
