"""A browser without JavaScript: follows links, keeps cookies, sends back the forms that pages show."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import httpx

PAGE_SECONDS_MAX = 30


class Browser:
    """`page` is the answer to the last request."""

    def __init__(self, base_url: str) -> None:
        self._client = httpx.Client(base_url=base_url, follow_redirects=True, timeout=PAGE_SECONDS_MAX)
        self.page = httpx.Response(204)

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    @property
    def path(self) -> str:
        return self.page.url.path

    def get(self, path: str) -> httpx.Response:
        return self._took(self._client.get(path))

    def submit(self, has: str, **changes: str) -> httpx.Response:
        """Sends the form of the present page that has a field `has`, as it is but for `changes`."""
        form = next(form for form in _forms(self.page.text) if has in form.fields)
        fields = {**form.fields, **changes}
        return self._took(self._client.post(form.action or self.path, data=fields))

    def _took(self, response: httpx.Response) -> httpx.Response:
        assert response.is_success, f"{response.request.method} {response.url}: {response.status_code} {response.text}"
        self.page = response
        return response


class _Form:
    def __init__(self, action: str) -> None:
        self.action = action
        self.fields: dict[str, str] = {}


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[_Form] = []
        self._select = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given: dict[str, Any] = dict(attrs)
        if tag == "form":
            self.forms.append(_Form(given.get("action") or ""))
        elif tag in ("input", "select", "textarea") and self.forms and given.get("name"):
            self._select = given["name"] if tag == "select" else ""
            self._take_field(given)
        elif tag == "option" and self._select and "selected" in given:
            self.forms[-1].fields[self._select] = given["value"]

    def _take_field(self, given: dict[str, Any]) -> None:
        is_choice = given.get("type") in ("checkbox", "radio")
        if not is_choice or "checked" in given:
            self.forms[-1].fields[given["name"]] = given.get("value") or ("on" if is_choice else "")


def _forms(page: str) -> list[_Form]:
    reader = _Reader()
    reader.feed(page)
    return reader.forms
