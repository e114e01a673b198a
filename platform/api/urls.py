"""The REST API, in the order of the contract."""

from django.urls import path, re_path, register_converter

from api.converters import NameConverter, NumberConverter, UsernameConverter
from api.views import alerts, builds, outlooks, platform, queries, services, tenants, versions
from api.views.docs import DocsView, SchemaView

register_converter(NameConverter, "name")
register_converter(UsernameConverter, "username")
register_converter(NumberConverter, "number")

TENANT = "tenants/<name:tenant>"
SERVICE = f"{TENANT}/services/<name:service>"
BUILD = f"{SERVICE}/builds/<number:number>"
KEY = f"{TENANT}/keys/<name:prefix>"

urlpatterns = [
    path("tenants", tenants.TenantsView.as_view()),
    path(TENANT, tenants.TenantView.as_view()),
    path(f"{TENANT}/quota", tenants.QuotaView.as_view()),
    path(f"{TENANT}/members", tenants.MembersView.as_view()),
    path(f"{TENANT}/members/<username:username>", tenants.MemberView.as_view()),
    path(f"{TENANT}/keys", tenants.KeysView.as_view()),
    path(f"{KEY}:revoke", tenants.KeyRevokeView.as_view()),
    path(f"{KEY}:rotate", tenants.KeyRotateView.as_view()),
    path(f"{TENANT}/audit", platform.TenantAuditView.as_view()),
    path(f"{TENANT}/alerts", alerts.AlertsView.as_view()),
    path(f"{TENANT}/alerts/<number:number>:acknowledge", alerts.AlertAcknowledgeView.as_view()),
    path(f"{TENANT}/webhookSecret", alerts.WebhookSecretView.as_view()),
    path(f"{TENANT}/webhookSecret:rotate", alerts.WebhookSecretRotateView.as_view()),
    path(f"{TENANT}/sources:inspect", platform.SourceInspectView.as_view()),
    path(f"{TENANT}/services", services.ServicesView.as_view()),
    path(f"{TENANT}/services:estimate", outlooks.EstimateView.as_view()),
    path(SERVICE, services.ServiceView.as_view()),
    path(f"{SERVICE}:build", services.ServiceBuildView.as_view()),
    path(f"{SERVICE}:rollback", services.ServiceRollbackView.as_view()),
    path(f"{SERVICE}:activate", services.ServiceActivateView.as_view()),
    path(f"{SERVICE}:clear", services.ServiceClearView.as_view()),
    path(f"{SERVICE}:hold", services.ServiceHoldView.as_view()),
    path(f"{SERVICE}:release", services.ServiceReleaseView.as_view()),
    path(f"{SERVICE}:recall", queries.ServiceRecallView.as_view()),
    path(f"{SERVICE}:batchRecall", queries.ServiceBatchRecallView.as_view()),
    path(f"{SERVICE}:count", queries.ServiceCountView.as_view()),
    path(f"{SERVICE}/builds", builds.BuildsView.as_view()),
    path(BUILD, builds.BuildView.as_view()),
    path(f"{BUILD}:cancel", builds.BuildCancelView.as_view()),
    path(f"{BUILD}:retry", builds.BuildRetryView.as_view()),
    path(f"{BUILD}:override", builds.BuildOverrideView.as_view()),
    path(f"{SERVICE}/versions", builds.VersionsView.as_view()),
    path(f"{SERVICE}/versions/<number:number>", builds.VersionView.as_view()),
    path(f"{SERVICE}/versions/<number:number>:compare", versions.VersionCompareView.as_view()),
    path(f"{SERVICE}/replicas", builds.ReplicasView.as_view()),
    path(f"{SERVICE}/metrics", outlooks.MetricsView.as_view()),
    path(f"{SERVICE}/audit", platform.ServiceAuditView.as_view()),
    path("nodes", builds.NodesView.as_view()),
    path("health", platform.HealthView.as_view()),
    path("discovery/<name:tenant>/<name:service>", platform.DiscoveryView.as_view()),
    path("schema", SchemaView.as_view(), name="schema"),
    path("docs", DocsView.as_view(), name="docs"),
    re_path(r"^.*$", platform.MissingView.as_view()),
]
