"""The API's description of itself, and Swagger UI from our own files. Open: they tell nothing of anybody's data."""

from __future__ import annotations

from csp.constants import SELF, UNSAFE_INLINE
from csp.decorators import csp_update
from django.utils.decorators import method_decorator
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

# Swagger UI writes its styles into the page; its scripts come from our own address like all others.
DOCS_POLICY = {"style-src": [SELF, UNSAFE_INLINE]}


class SchemaView(SpectacularAPIView):
    authentication_classes = []
    permission_classes = []


@method_decorator(csp_update(DOCS_POLICY), name="dispatch")
class DocsView(SpectacularSwaggerSplitView):
    authentication_classes = []
    permission_classes = []
