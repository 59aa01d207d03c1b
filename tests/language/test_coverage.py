"""Everything that is shown can be said in every language."""

import pytest

from sartor import registry
from sartor.language import ENGLISH, LANGUAGES, catalogue
from sartor.language.collect import collect, missing
from sartor.report.kinds import KINDS
from sartor.run import metrics_of
from sartor.stages.decide import CODES

SCREENS = ("cli/", "report/", "stages/decide/", "stages/data/", "serve/", "check.py", "verify.py", "run.py")
"""What people see without anything having gone wrong, and what is said of their data."""
ENOUGH = 0.9
"""Share of all sentences; the rest are of new plug-ins and of damage that nobody meets."""


@pytest.fixture(scope="module")
def found():
    return collect()


@pytest.fixture(params=[code for code in LANGUAGES if code != ENGLISH])
def code(request):
    return request.param


def test_screens_decisions_and_problems_of_data(found, code):
    lacking = [one for one in missing(code, found) if one.file.startswith(SCREENS)]
    assert not lacking, listed(lacking)


def test_nearly_every_error(found, code):
    lacking = missing(code, found)
    assert len(lacking) <= (1 - ENOUGH) * len(found), listed(lacking)


def test_titles_reasons_and_advice(code):
    tasks = [registry.get("tasks", name) for name in registry.names("tasks")]
    words = {metric.title for task in tasks for metric in metrics_of(task)} | set(CODES.values()) | set(KINDS.values())
    words |= {task.title for task in tasks} | {advice for task in tasks for advice in task.advice.values()}
    universal = {word for word in words if word.upper() == word or any(sign in word for sign in "@²") or "mAP" in word}
    lacking = sorted(word for word in words - universal if not catalogue(code).knows(word))
    assert not lacking, lacking


def test_what_is_collected(tmp_path):
    (tmp_path / "module.py").write_text(
        '"""A docstring is not said."""\n'
        "def tell(n, path, option):\n"
        "    print(option(help='nor is help of options'))\n"
        '    print(f\'{n} file{"s" if n > 1 else ""} of {path.name} and {path.parent.name} cannot be read\')\n'
        "    print(say('word'))\n"
    )
    assert [one.sentence for one in collect(tmp_path)] == [
        "{n} files of {name} and {name2} cannot be read",
        "{n} file of {name} and {name2} cannot be read",
        "word",
    ]


def listed(lacking):
    return "\n".join(f"{one.file}:{one.line}: {one.sentence}" for one in lacking)
