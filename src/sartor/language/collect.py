"""The sentences that the code says, and which of them a catalogue lacks: ``python -m sartor.language.collect zh``.

Read from the source: texts and f-strings of more than one word, what templates and scripts say, titles of tasks and
metrics, reason codes. An f-string becomes a template with a name per expression, one template per way it can come out.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from sartor.language import NAME, catalogue, sentences
from sartor.language.pages import said_by

_ROOT = Path(__file__).parents[1]
_APART = ("testing/", "language/", "stages/package/card.py")  # for developers; the model card stays English
_PAGES = ("report/page/*.jinja", "report/page/*.js", "serve/page.html")
_SENTENCE = re.compile(r"[A-Za-z]{2,}[’',;:.]? .*[A-Za-z]{2,}")
_NOT_SAID = {
    "help",
    "metavar",
    "envvar",
    "source",
    "licence",
    "schema",
    "policy",
    "sent",
}  # arguments, fields and constants
_NOT_SAYING = {"compile", "execute", "executescript", "split", "provenance", "attributeerror", "typeerror"}
_LITERALS = ("sartor ", "curl ", "http://", "text/plain;", "# TYPE ")  # to be typed, or read by programs
_ONCE = {"say", "T"}  # what stands in their arguments is said already
_TRANSPARENT = {"len", "join", "sorted", "str", "round", "min", "max", "sum", "list", "next", "abs"}
_MOST_WAYS = 12


@dataclass(frozen=True)
class Found:
    """A sentence and where it is said."""

    file: str
    line: int
    sentence: str


def collect(root: Path = _ROOT) -> list[Found]:
    """Every sentence of the package's source, once for each place."""
    found = []
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root).as_posix()
        if not name.startswith(_APART):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            found += [Found(name, line, sentence) for line, sentence in _said_in(tree)]
    for pattern in _PAGES:
        for path in sorted(root.glob(pattern)):
            said = sorted(said_by(path.read_text(encoding="utf-8")))
            found += [Found(path.relative_to(root).as_posix(), 0, sentence) for sentence in said]
    return found


def missing(code: str, found: list[Found]) -> list[Found]:
    """Those that the catalogue of a language lacks; what the names in them are called does not matter."""
    known = {bare(sentence) for sentence in sentences(code)}
    said = catalogue(code).knows
    return [one for one in found if bare(one.sentence) not in known and not said(one.sentence)]


def bare(sentence: str) -> str:
    """A sentence without the names in it and without the signs around it."""
    return " ".join(NAME.sub("{}", sentence).split()).strip(" ,;.:()…")


def _said_in(tree: ast.Module) -> Iterator[tuple[int, str]]:
    skipped = set(_not_said(tree))
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.JoinedStr | ast.Constant):
            for way in () if _holds_said(node) else _ways(node):
                for line in way.splitlines():
                    if _SENTENCE.search(NAME.sub("", line)) and not line.startswith(_LITERALS):
                        yield node.lineno, _distinct(line.strip())
        elif isinstance(node, ast.Call) and _name(node.func) in ("say", "labelled", "_labelled", "_line"):
            for given in node.args:
                if isinstance(given, ast.Constant) and isinstance(given.value, str) and given.value.strip():
                    yield node.lineno, given.value.strip()


def _holds_said(node: ast.AST) -> bool:
    return any(isinstance(part, ast.Call) and _name(part.func) in _ONCE for part in ast.walk(node))


def _not_said(tree: ast.Module) -> Iterator[ast.AST]:
    """Docstrings, help, annotations, patterns, and the parts of f-strings, which are met as a whole."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield node.value
        elif (isinstance(node, ast.keyword) and node.arg in _NOT_SAID) or (
            isinstance(node, ast.Assign) and _name(node.targets[0]) in _NOT_SAID
        ):
            yield from ast.walk(node.value)
        elif isinstance(node, ast.Call) and _name(node.func) in _NOT_SAYING:
            yield from ast.walk(node)
        elif isinstance(node, ast.JoinedStr):
            yield from (part for part in ast.walk(node) if part is not node)
        elif isinstance(node, ast.AnnAssign):
            yield from ast.walk(node.annotation)


def _ways(node: ast.AST) -> list[str]:
    """What an expression may come out as; what is not known before gets a name."""
    if isinstance(node, ast.Constant):
        return [node.value] if isinstance(node.value, str) else []
    if isinstance(node, ast.JoinedStr):
        ways = [""]
        for part in node.values:
            ways = list(islice((before + after for before in ways for after in _ways(part)), _MOST_WAYS))
        return ways
    if isinstance(node, ast.FormattedValue):
        told = node.value
        return _ways(told) if isinstance(told, ast.IfExp | ast.JoinedStr) else [f"{{{_name(told)}}}"]
    if isinstance(node, ast.IfExp):
        return [way for branch in (node.body, node.orelse) for way in (_ways(branch) or [""])]
    return [f"{{{_name(node)}}}"]


def _name(node: ast.AST) -> str:
    """The last word of an expression, as a name for what it gives."""
    match node:
        case ast.Name(id=word) | ast.Attribute(attr=word):
            return word.strip("_").lower() or "value"
        case ast.Call(func=function, args=[first, *_]) if _name(function) in _TRANSPARENT:
            return _name(first)
        case ast.Call(func=inner) | ast.Subscript(value=inner) | ast.BinOp(left=inner) | ast.IfExp(body=inner):
            return _name(inner)
        case ast.GeneratorExp(elt=inner) | ast.ListComp(elt=inner) | ast.Starred(value=inner):
            return _name(inner)
    return "value"


def _distinct(sentence: str) -> str:
    """Names that stand for different things become different: ``{name} … {name2}``."""
    seen: Counter[str] = Counter()

    def told(name: re.Match[str]) -> str:
        seen[name[1]] += 1
        return f"{{{name[1]}{seen[name[1]] if seen[name[1]] > 1 else ''}}}"

    return NAME.sub(told, sentence)


def main() -> int:
    """Print what a catalogue lacks, by file, ready to be put into it."""
    code = sys.argv[1] if len(sys.argv) > 1 else "zh"
    lacking = missing(code, collect())
    for file in dict.fromkeys(one.file for one in lacking):
        print(f"# {file}")
        for sentence in dict.fromkeys(one.sentence for one in lacking if one.file == file):
            print(f'{json.dumps(sentence, ensure_ascii=False)}: "",')
    print(f"{len(lacking)} sentences are not in {code}.json", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
