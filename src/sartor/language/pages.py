"""Sentences of web pages: what templates and scripts say by ``T("…")`` or ``data-say="…"``."""

from __future__ import annotations

import re
from collections.abc import Iterable

from sartor.language import say

_SAID = re.compile(r'data-say="([^"]+)"|\bT\("([^"]+)"')


def said_by(text: str) -> set[str]:
    """The English sentences of a page, a template or a script."""
    return {attribute or call for attribute, call in _SAID.findall(text)}


def strings(wanted: Iterable[str], code: str | None = None) -> dict[str, str]:
    """English sentences to those of a language (the reader's where None), where there are any."""
    said = {sentence: say(sentence, code) for sentence in sorted(wanted)}
    return {sentence: other for sentence, other in said.items() if other != sentence}
