"""The page at ``/``: one file without anything from elsewhere, its sentences in every language of the catalogue."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from sartor import registry
from sartor.language import ENGLISH, LANGUAGES
from sartor.language.pages import said_by, strings
from sartor.pipeline import PARTS
from sartor.stages.requirement import measurables

POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_FILE = Path(__file__).with_name("page.html")
_PLACE = "{/* strings */}"


@cache
def page() -> str:
    """The page with the sentences it says in other languages than English."""
    text = _FILE.read_text(encoding="utf-8")
    names = registry.names("tasks")
    titles = {registry.get("tasks", name).title for name in names}
    metrics = {item.metric.title for name in names for item in measurables(name).values()}
    said = said_by(text) | set(PARTS) | titles | metrics
    known = {code: strings(said, code) for code in LANGUAGES if code != ENGLISH}
    return text.replace(_PLACE, json.dumps(known, ensure_ascii=False).replace("<", "\\u003c"))


def reader_language(accepted: str) -> str:
    """The language a browser asks for by ``Accept-Language``: the first one known here, else English."""
    for choice in accepted.lower().split(","):
        code = choice.split(";")[0].strip().split("-")[0]
        if code in LANGUAGES:
            return code
    return ENGLISH
