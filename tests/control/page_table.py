"""The doors of the console's pages; see tests/control/url_table.py."""

from __future__ import annotations

from typing import Any

from tenants.permissions import Permission
from tests.control.url_table import Door, Need


def page(route: str, method: str, needs: Permission | Need, body: dict[str, Any] | None = None) -> Door:
    return Door(route, method, needs, body, is_page=True)


TENANT = "t/<str:tenant>"
SERVICE = f"{TENANT}/s/<str:service>"
DRAFT = f"{TENANT}/services/new/<str:draft>"
BUILD = f"{SERVICE}/builds/<int:number>"

VIEW, QUERY, BUILDING, OPERATE, MANAGE = (
    Permission.VIEW,
    Permission.QUERY,
    Permission.BUILD,
    Permission.OPERATE,
    Permission.MANAGE,
)

PAGE_DOORS = (
    page("login/", "GET", Need.NOTHING),
    page("login/", "POST", Need.NOTHING, {"username": "alice", "password": "wrong"}),
    # To Django's forms PUT is another word for POST.
    page("login/", "PUT", Need.NOTHING),
    page("logout/", "POST", Need.NOTHING),
    page("account/", "GET", Need.ONESELF),
    page("account/password/", "GET", Need.ONESELF),
    page("account/password/", "POST", Need.ONESELF, {"present": "wrong", "password": "new", "again": "new"}),
    page("account/sessions/end-others/", "POST", Need.ONESELF),
    page("account/sessions/<str:session>/end/", "POST", Need.ONESELF),
    page("", "GET", Need.SOMEBODY),
    page("search/", "GET", Need.SOMEBODY),
    page("demo/", "POST", Need.PLATFORM_ADMIN),
    page(f"{TENANT}/demo/", "POST", MANAGE),
    page("operations/", "GET", Need.PLATFORM_ADMIN),
    page("operations/teams/create/", "POST", Need.PLATFORM_ADMIN),
    page("clients/recall-client.tar.gz", "GET", Need.NOTHING),
    page("clients/recall.proto", "GET", Need.NOTHING),
    page("alerts/", "GET", Need.SOMEBODY),
    page(f"{TENANT}/alerts/<int:number>/acknowledge/", "POST", OPERATE),
    page(f"{TENANT}/services/new/", "GET", MANAGE),
    page(f"{TENANT}/services/new/", "POST", MANAGE, {"name": "series"}),
    page(f"{DRAFT}/", "GET", MANAGE),
    page(f"{DRAFT}/intent/", "GET", MANAGE),
    page(f"{DRAFT}/intent/", "POST", MANAGE, {"name": "series"}),
    page(f"{DRAFT}/schema/", "GET", MANAGE),
    page(f"{DRAFT}/schema/", "POST", MANAGE, {"dimension": "4"}),
    page(f"{DRAFT}/check/", "GET", MANAGE),
    page(f"{DRAFT}/review/", "GET", MANAGE),
    page(f"{DRAFT}/review/", "POST", MANAGE, {"engine": "auto"}),
    page(f"{DRAFT}/preview/", "POST", MANAGE, {"at": "review"}),
    page(f"{DRAFT}/reading/", "GET", MANAGE),
    page(f"{DRAFT}/read/", "POST", MANAGE),
    page(f"{DRAFT}/discard/", "POST", MANAGE),
    page(f"{TENANT}/audit/", "GET", VIEW),
    page(f"{TENANT}/audit.csv", "GET", VIEW),
    page(f"{TENANT}/members/", "GET", VIEW),
    page(f"{TENANT}/members/add/", "POST", MANAGE, {"username": "erin", "role": "viewer"}),
    page(f"{TENANT}/members/<str:username>/role/", "POST", MANAGE, {"role": "viewer"}),
    page(f"{TENANT}/members/<str:username>/remove/", "POST", MANAGE),
    page(f"{TENANT}/quota/", "GET", VIEW),
    page(f"{TENANT}/quota/", "POST", Permission.ADMIN, {"services_max": "3"}),
    page(f"{TENANT}/keys/", "GET", MANAGE),
    page(f"{TENANT}/keys/create/", "POST", MANAGE, {"scope": "read"}),
    page(f"{TENANT}/keys/<str:prefix>/rotate/", "POST", MANAGE, {"overlap_seconds": "3600"}),
    page(f"{TENANT}/keys/<str:prefix>/revoke/", "POST", MANAGE),
    page(f"{SERVICE}/", "GET", VIEW),
    page(f"{SERVICE}/status/", "GET", VIEW),
    page(f"{SERVICE}/traffic/", "GET", VIEW),
    page(f"{SERVICE}/connect/", "GET", VIEW),
    page(f"{SERVICE}/connect/status/", "GET", VIEW),
    page(f"{SERVICE}/query/", "POST", QUERY, {"vector": "1, 0, 0, 0"}),
    page(f"{SERVICE}/playground/", "GET", QUERY),
    page(f"{SERVICE}/playground/", "POST", QUERY, {"vector": "1, 0, 0, 0"}),
    page(f"{SERVICE}/build/", "POST", BUILDING),
    page(f"{SERVICE}/hold/", "POST", OPERATE, {"reason": "a holiday"}),
    page(f"{SERVICE}/release/", "POST", OPERATE),
    page(f"{SERVICE}/versions/compare/", "GET", VIEW),
    page(f"{SERVICE}/versions/<int:number>/", "GET", VIEW),
    page(f"{SERVICE}/versions/<int:number>/compare/<int:other>/", "GET", VIEW),
    page(f"{SERVICE}/versions/<int:number>/projection/", "GET", VIEW),
    page(f"{SERVICE}/versions/<int:number>/neighbours/", "GET", QUERY, {"item": "1"}),
    page(f"{SERVICE}/versions/<int:number>/activate/", "POST", OPERATE, {"live_generation": "1"}),
    page(f"{SERVICE}/rollback/", "POST", OPERATE, {"from_version": "1", "to_version": "1"}),
    page(f"{BUILD}/", "GET", VIEW),
    page(f"{BUILD}/progress/", "GET", VIEW),
    page(f"{BUILD}/cancel/", "POST", BUILDING),
    page(f"{BUILD}/retry/", "POST", BUILDING),
    page(f"{BUILD}/override/", "POST", OPERATE, {"reason": "known", "step": "activate", "guard": "guard.min_recall"}),
)
