"""The generated reference says what the code says today."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
DOCS = REPOSITORY / "docs"


@pytest.fixture(scope="module")
def generate():
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pages(generate):
    return generate.pages()


def test_the_reference_is_fresh(pages):
    stale = [name for name, text in pages.items() if (DOCS / "reference" / name).read_text(encoding="utf-8") != text]
    assert not stale, f"docs/reference/{', '.join(stale)} is out of date; run: make docs"


def test_there_is_no_page_that_nobody_writes(pages):
    assert {path.name for path in (DOCS / "reference").glob("*.md")} == set(pages)


def test_every_verb_code_key_and_type_is_there(pages):
    assert "## sartor run" in pages["cli.md"]
    assert "### sartor device probe" in pages["cli.md"]
    assert "| `SLOWER_THAN_PARENT` |" in pages["reason-codes.md"]
    assert "| `limits` |" in pages["requirement.md"]
    assert "`max_drop`" in pages["metrics.md"]
    assert "## Certificate" in pages["decision-json.md"]
    assert "### resnet9" in pages["catalog.md"]


PAGES = sorted([*REPOSITORY.glob("*.md"), *DOCS.rglob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    missing = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        target, _, _ = link.partition("#")
        if "://" in link or not target or target.startswith("docs/images/"):  # pictures are made by the demo
            continue
        if not (page.parent / target).exists():
            missing.append(link)
    assert not missing
