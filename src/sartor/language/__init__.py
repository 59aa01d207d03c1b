"""What Sartor says, in the reader's language. English is the language of the code and of the evidence.

Sentences are made in English, stored in English and turned into another language where they are shown, by one
catalogue: ``zh.json`` maps English sentences to Chinese ones, with ``{names}`` standing for what differs from time to
time. So a run's files read the same whoever made them, and no sentence is made in two places.

``python -m sartor.language.collect`` lists the sentences of the code that a catalogue lacks.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sartor.language.matching import Catalogue

ENGLISH = "en"
LANGUAGES: Mapping[str, str] = {ENGLISH: "English", "zh": "中文"}
"""Codes to names in their own language."""

VARIABLE = "SARTOR_LANGUAGE"
NAME = re.compile(r"\{([a-z_][a-z_0-9]*)\}")
"""What stands for a part that differs, in a sentence of the catalogue."""

_USUAL_VARIABLES = ("LC_ALL", "LC_MESSAGES", "LANG")
_spoken: ContextVar[str] = ContextVar("spoken", default="")
_catalogues: dict[str, Catalogue] = {}


def language(environment: Mapping[str, str] | None = None) -> str:
    """The language to speak: ``SARTOR_LANGUAGE``, else that of the system where it is known here, else English."""
    if environment is None and _spoken.get():
        return _spoken.get()
    given = os.environ if environment is None else environment
    named = given.get(VARIABLE) or next((given[name] for name in _USUAL_VARIABLES if given.get(name)), "")
    code = re.split(r"[-_.]", named.lower())[0]
    return code if code in LANGUAGES else ENGLISH


@contextmanager
def speaking(code: str) -> Iterator[None]:
    """Speak a language for a while, whatever the environment says.

    Example:
        >>> with speaking("zh"):
        ...     say("Why?")
        '为什么？'
    """
    token = _spoken.set(code)
    try:
        yield
    finally:
        _spoken.reset(token)


def say(text: str, code: str | None = None, /, **values: object) -> str:
    """A sentence in a language; what the catalogue does not know stays English.

    Args:
        text: English, as the code made it.
        code: ``en`` or ``zh``; the reader's language where None.
        values: what stands for ``{names}`` in ``text``; put in as they are.

    Example:
        >>> say("run again", "en")
        'run again'
        >>> say("{count} more", "en", count=3)
        '3 more'
    """
    code = language() if code is None else code
    said = text if code == ENGLISH else catalogue(code).say(text)
    return NAME.sub(lambda name: str(values.get(name[1], name[0])), said) if values else said


def sentences(code: str) -> Mapping[str, str]:
    """The whole catalogue of a language: English sentence to its own; empty for English."""
    return {} if code == ENGLISH else catalogue(code).sentences


def catalogue(code: str) -> Catalogue:
    """The sentences of a language, loaded at the first word in another language: English readers pay nothing."""
    if code not in _catalogues:
        from sartor.language.matching import load

        _catalogues[code] = load(code)
    return _catalogues[code]
