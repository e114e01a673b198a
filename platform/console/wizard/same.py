"""What the wizard is going to do, as others would do it: a YAML file, the CLI, REST. Each can be pasted as it is."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any, NamedTuple

import yaml

from catalog.spec import in_order

YAML_WIDTH = 100


class Same(NamedTuple):
    """`yaml`: what `recall service create -f` and `apply -f` take. `cli`, `rest`: lines for a shell."""

    yaml: str
    cli: str
    rest: str


def same(*, tenant: str, spec: Mapping[str, Any], build: bool, drop: str, api_url: str) -> Same:
    """`build`: asks for the first build too, of `drop` if it is named. `api_url` ends without a slash."""
    spec = in_order(spec)
    text: str = yaml.safe_dump(spec, sort_keys=False, allow_unicode=True, default_flow_style=None, width=YAML_WIDTH)
    return Same(text, _cli(tenant, spec["name"], text, build, drop), _rest(tenant, spec, build, drop, api_url))


def _cli(tenant: str, name: str, text: str, build: bool, drop: str) -> str:
    lines = f"recall service create --tenant {tenant} -f - <<'EOF'\n{text}EOF\n"
    named = f" --drop {shlex.quote(drop)}" if drop else ""
    return lines + (f"recall build {tenant}/{name}{named} --wait\n" if build else "")


def _rest(tenant: str, spec: Mapping[str, Any], build: bool, drop: str, api_url: str) -> str:
    services = f"{api_url}/tenants/{tenant}/services"
    lines = _post(services, json.dumps(spec, ensure_ascii=False, indent=1))
    body = json.dumps({"drop": drop} if drop else {}, ensure_ascii=False)
    return lines + (_post(f"{services}/{spec['name']}:build", body) if build else "")


def _post(url: str, body: str) -> str:
    return (
        f"curl --fail-with-body -X POST {shlex.quote(url)} \\\n"
        "  -H \"Authorization: Bearer $RECALL_API_KEY\" -H 'Content-Type: application/json' -d @- <<'EOF'\n"
        f"{body}\nEOF\n"
    )
