"""A question to a service as programs and shells ask it: each language a file with one pure function to text.

Every text can be pasted as it is; the key alone comes from the reader's own environment, RECALL_API_KEY.
"""

from __future__ import annotations

from typing import NamedTuple

from console.snippets import cli, curl, grpcurl, java, python
from console.snippets.question import Endpoint, Feature, Item, Question, request_of

__all__ = ["LANGUAGES", "Endpoint", "Feature", "Item", "Question", "Snippet", "request_of", "snippets_of"]

# Name in an address or an element's id -> what people call it, and who writes it.
LANGUAGES = {
    "python": ("Python", python.written),
    "java": ("Java", java.written),
    "grpcurl": ("grpcurl", grpcurl.written),
    "cli": ("CLI", cli.written),
    "curl": ("REST", curl.written),
}


class Snippet(NamedTuple):
    name: str
    label: str
    text: str


def snippets_of(question: Question, endpoint: Endpoint) -> list[Snippet]:
    """The question in every language."""
    return [Snippet(name, label, write(question, endpoint)) for name, (label, write) in LANGUAGES.items()]
