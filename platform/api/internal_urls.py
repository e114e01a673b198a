"""What only the platform's own processes call."""

from django.urls import path

from api.views.internal import RevocationsView

urlpatterns = [path("revocations", RevocationsView.as_view(), name="internal-revocations")]
