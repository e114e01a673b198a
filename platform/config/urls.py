"""Every URL of the control plane."""

from django.urls import include, path

handler404 = "console.views.failures.not_found"
handler500 = "console.views.failures.failed"

urlpatterns = [
    path("api/v1/", include("api.urls")),
    path("internal/", include("api.internal_urls")),
    path("", include("console.urls")),
]
