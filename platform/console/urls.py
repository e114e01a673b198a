"""Every page of the console."""

from django.contrib.auth.views import LogoutView
from django.urls import path

from console.playground import views as playground
from console.views import (
    account,
    alerts,
    audit,
    builds,
    connect,
    demo,
    downloads,
    home,
    keys,
    members,
    operations,
    projections,
    query,
    quota,
    services,
    sign_in,
    traffic,
    versions,
)
from console.wizard import views as wizard

app_name = "console"

_SERVICE = "t/<str:tenant>/s/<str:service>/"
_DRAFT = "t/<str:tenant>/services/new/<str:draft>/"
_BUILD = _SERVICE + "builds/<int:number>/"

urlpatterns = [
    path("login/", sign_in.SignIn.as_view(), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("account/", account.index, name="account"),
    path("account/password/", account.password, name="account-password"),
    path("account/sessions/end-others/", account.end_other_sessions, name="account-end-others"),
    path("account/sessions/<str:session>/end/", account.end_session, name="account-end"),
    path("", home.home, name="home"),
    path("search/", home.search, name="search"),
    path("demo/", demo.load_for_all, name="demo-load-for-all"),
    path("t/<str:tenant>/demo/", demo.load, name="demo-load"),
    path("operations/", operations.index, name="operations"),
    path("clients/recall-client.tar.gz", downloads.python_client, name="client-python"),
    path("clients/recall.proto", downloads.proto, name="client-proto"),
    path("alerts/", alerts.index, name="alerts"),
    path("t/<str:tenant>/alerts/<int:number>/acknowledge/", alerts.acknowledge, name="alert-acknowledge"),
    path("t/<str:tenant>/services/new/", wizard.begin, name="service-create"),
    path(_DRAFT, wizard.resume, name="draft-resume"),
    path(_DRAFT + "intent/", wizard.intent, name="draft-intent"),
    path(_DRAFT + "schema/", wizard.schema, name="draft-schema"),
    path(_DRAFT + "check/", wizard.check, name="draft-check"),
    path(_DRAFT + "review/", wizard.review, name="draft-review"),
    path(_DRAFT + "preview/", wizard.preview, name="draft-preview"),
    path(_DRAFT + "reading/", wizard.reading, name="draft-reading"),
    path(_DRAFT + "read/", wizard.read_again, name="draft-read"),
    path(_DRAFT + "discard/", wizard.discard, name="draft-discard"),
    path("t/<str:tenant>/audit/", audit.index, name="audit"),
    path("t/<str:tenant>/audit.csv", audit.export, name="audit-export"),
    path("t/<str:tenant>/members/", members.index, name="members"),
    path("t/<str:tenant>/members/add/", members.add, name="member-add"),
    path("t/<str:tenant>/members/<str:username>/role/", members.set_role, name="member-role"),
    path("t/<str:tenant>/members/<str:username>/remove/", members.remove, name="member-remove"),
    path("t/<str:tenant>/quota/", quota.index, name="quota"),
    path("t/<str:tenant>/keys/", keys.index, name="keys"),
    path("t/<str:tenant>/keys/create/", keys.create, name="key-create"),
    path("t/<str:tenant>/keys/<str:prefix>/rotate/", keys.rotate, name="key-rotate"),
    path("t/<str:tenant>/keys/<str:prefix>/revoke/", keys.revoke, name="key-revoke"),
    path(_SERVICE, services.show, name="service"),
    path(_SERVICE + "status/", services.status, name="service-status"),
    path(_SERVICE + "traffic/", traffic.show, name="service-traffic"),
    path(_SERVICE + "connect/", connect.show, name="connect"),
    path(_SERVICE + "connect/status/", connect.status, name="connect-status"),
    path(_SERVICE + "query/", query.query, name="query"),
    path(_SERVICE + "playground/", playground.show, name="playground"),
    path(_SERVICE + "build/", builds.request_build, name="build-request"),
    path(_SERVICE + "hold/", services.hold, name="service-hold"),
    path(_SERVICE + "release/", services.release, name="service-release"),
    path(_SERVICE + "versions/compare/", versions.pick, name="versions-pick"),
    path(_SERVICE + "versions/<int:number>/", versions.show, name="version"),
    path(_SERVICE + "versions/<int:number>/compare/<int:other>/", versions.compare, name="version-compare"),
    path(_SERVICE + "versions/<int:number>/projection/", projections.show, name="version-projection"),
    path(_SERVICE + "versions/<int:number>/neighbours/", projections.neighbours, name="version-neighbours"),
    path(_SERVICE + "versions/<int:number>/activate/", versions.activate, name="version-activate"),
    path(_SERVICE + "rollback/", versions.rollback, name="rollback"),
    path(_BUILD, builds.show, name="build"),
    path(_BUILD + "progress/", builds.progress, name="build-progress"),
    path(_BUILD + "cancel/", builds.cancel, name="build-cancel"),
    path(_BUILD + "retry/", builds.retry, name="build-retry"),
    path(_BUILD + "override/", builds.override, name="build-override"),
]
