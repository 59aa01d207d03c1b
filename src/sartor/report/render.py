"""One self-contained HTML file from a run's file: no network, no other file, opened with a double click."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from sartor.codec import canonical_json
from sartor.language import language as readers_language
from sartor.language import say, speaking
from sartor.language.layout import width
from sartor.metrics import Metric, index
from sartor.report import charts, figures, looks, words
from sartor.report.gauges import gauges
from sartor.report.kinds import KINDS, kind_of
from sartor.report.payload import payload
from sartor.stages.decide import CODES
from sartor.stages.decide.judge import judge_all, known
from sartor.types import Insight, Record, RunFile, Verdict

SCRIPTS = ("base.js", "decide.js", "plot.js", "whatif.js", "tables.js")
PARTS = ("decode", "prepare", "model", "answer")
PRECISIONS = ("fp32", "bf16", "int8")
STATUS_WORDS: Mapping[str, str] = {"met": "Met", "infeasible": "Infeasible", "inconclusive": "Inconclusive"}


def render(run: RunFile, language: str | None = None) -> str:
    """The report of a run as one HTML page.

    Args:
        run: what ``decision.json`` holds.
        language: of the page, ``en`` or ``zh``; the reader's where None.

    Returns:
        A complete document. A content security policy in it forbids every request and every script but its own.

    Example:
        >>> Path("report.html").write_text(render(run), encoding="utf-8")
    """
    script = _script()
    policy = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = _environment().get_template("page.html.jinja")
    with speaking(language or readers_language()):
        return page.render(
            **_view(run),
            language=readers_language(),
            T=say,
            style=Markup(_text("style.css")),  # noqa: S704
            script=Markup(script),  # noqa: S704
            policy=policy,
        )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("sartor.report", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "shown": words.shown,
        "say": say,
        "action": words.action_name,
        "plain": figures.plain,
        "quantity": lambda value, metric: figures.quantity(metric, value),
        "duration": figures.duration,
        "file_size": figures.file_size,
        "kind": kind_of,
        "sentence": _sentence,
        "tiny": _is_tiny,
        "pieces": looks.pieces,
        "bars": looks.bars,
    }
    environment.tests["wide"] = looks.is_wide
    return environment


@cache
def _script() -> str:
    return "\n".join(_text(name) for name in SCRIPTS)


@cache
def _text(name: str) -> str:
    """A file of the page without indentation and comment lines (none of them holds text over several lines)."""
    text = (resources.files("sartor.report") / "page" / name).read_text(encoding="utf-8")
    lines = (line.strip() for line in text.splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("//"))


def _sentence(text: str) -> str:
    """With a capital, unless the first word is a name (``resnet9-s``, ``knn``): those stay as they are typed."""
    first = text.split(" ")[0]
    return text[:1].upper() + text[1:] if first.isalpha() and not first.endswith("nn") else text


def _is_tiny(thumbnail: str) -> bool:
    """True for a PNG (base64) at most 40 pixels wide: it is shown larger, and its pixels should stay square."""
    try:
        head = base64.b64decode(thumbnail[:32])
    except ValueError:
        return False
    return head.startswith(b"\x89PNG") and int.from_bytes(head[16:20], "big") <= 40


def _view(run: RunFile) -> dict[str, Any]:
    """Everything the template shows, by name."""
    decision, metrics = run.decision, index(run.metrics)
    subject = _subject(run)
    insight = run.insights.get(subject)
    primary = next((metric for metric in run.metrics if metric.kind == "quality"), None)
    floor = next((x.value for x in run.requirement.limits if primary and x.metric == primary.name), None)
    network = next((r.candidate.network.id for r in run.records if r.candidate.id == subject), "")
    return {
        "run": run,
        "decision": decision,
        "status": say(STATUS_WORDS[decision.status]),
        "asked": words.limits_sentence(run),
        "target": words.asked_of(run.requirement),
        "spent": words.run_seconds(run),
        "subject": subject,
        "gauges": gauges(_verdicts(run, subject), metrics, words.test_uses(run)),
        "relaxations": [
            (
                say(" and ").join(words.change_words(run.requirement, metrics, item.changes)),
                item.candidate,
                item.changes,
            )
            for item in (decision.certificate.relaxations if decision.certificate else ())
        ],
        "rows": _rows(run, primary),
        "codes": sorted({fate.code for fate in decision.fates}),
        "meanings": CODES,
        "kinds": KINDS,
        "primary": primary,
        "insight": insight,
        "drawings": looks.drawings(insight),
        "asked_for": words.answers_of(run.card),
        "confusion": charts.confusion(insight, run.card.labels) if insight else None,
        "name_width": f"{min(16, max((width(label) for label in run.card.labels), default=1)) + 1}ch",
        "classes": sorted(insight.per_class.items(), key=lambda item: item[1]) if insight else [],
        "parts": _parts(insight),
        "curves": charts.curves(run.curves, primary, network, floor) if primary else None,
        "lanes": charts.lanes(run.steps),
        "splits": [(name, run.card.splits[name]) for name in words.in_order(run.card.splits, words.SPLITS)],
        "facts": _facts(run),
        "balance": _balance(run),
        "payload": Markup(payload(run, _script())),  # noqa: S704
        "canonical": canonical_json,
    }


def _subject(run: RunFile) -> str:
    """The candidate the page is about: the chosen one, the one that would be next, or the nearest."""
    decision = run.decision
    if decision.chosen or decision.next:
        return decision.chosen or decision.next
    if decision.certificate and decision.certificate.relaxations:
        return decision.certificate.relaxations[0].candidate
    return _open_candidate(run) or _best_candidate(run)


def _open_candidate(run: RunFile) -> str:
    """The candidate whose verdicts an inconclusive decision shows."""
    shown = [verdict.measurement for verdict in run.decision.verdicts if verdict.measurement]
    for fate in run.decision.fates if shown else ():
        if fate.verdicts == run.decision.verdicts:
            return fate.candidate
    return ""


def _best_candidate(run: RunFile) -> str:
    """The candidate that came nearest to the first binding limit."""
    best = next(iter(run.decision.certificate.best.values()), None) if run.decision.certificate else None
    return next((r.candidate.id for r in run.records if best is not None and best in r.measurements), "")


def _verdicts(run: RunFile, subject: str) -> tuple[Verdict, ...]:
    """The decision's verdicts, or those of the nearest candidate, or the bare limits."""
    if run.decision.verdicts:
        return run.decision.verdicts
    record = next((item for item in run.records if item.candidate.id == subject), None)
    if record is not None:
        return judge_all(record, run.requirement.limits, index(run.metrics))
    best = run.decision.certificate.best if run.decision.certificate else {}
    return tuple(
        Verdict(limit, "missed" if limit.key in best else "inconclusive", False, best.get(limit.key), "")
        for limit in run.requirement.limits
    )


def _rows(run: RunFile, primary: Metric | None) -> list[dict[str, Any]]:
    """A row per candidate for the table of fates: chosen first, then by code."""
    fates = {fate.candidate: fate for fate in run.decision.fates}
    columns = [name for name in (primary.name if primary else "", "latency_p95_ms", "size_mb") if name]
    rows = []
    for record in run.records:
        fate = fates.get(record.candidate.id)
        code = fate.code if fate else "NOT_TRIED"
        rows.append(
            {
                "id": record.candidate.id,
                "code": code,
                "detail": say(fate.detail if fate else "no fate was recorded"),
                "front": bool(fate and fate.on_front),
                "numbers": [_number(record, name) for name in columns],
            }
        )
    order = {kind: place for place, kind in enumerate(KINDS)}
    return sorted(rows, key=lambda row: (order[kind_of(row["code"])], row["code"], row["id"]))


def _number(record: Record, name: str) -> dict[str, Any]:
    item = known(record, name)
    if item is None:
        return {"value": "", "text": "", "sure": True}
    return {"value": item.value, "text": figures.number(item.metric, item.value), "sure": item.basis == "measured"}


def _parts(insight: Insight | None) -> list[tuple[str, float, float]]:
    """Latency parts as (name, milliseconds, percent)."""
    parts = insight.latency_parts_ms if insight else {}
    total = sum(parts.values())
    names = words.in_order(parts, PARTS) if total > 0 else []
    return [(name, parts[name], 100 * parts[name] / total) for name in names]


def _facts(run: RunFile) -> dict[str, str]:
    """The machine in short lines."""
    device = run.device
    precisions = words.in_order(device.ceilings, PRECISIONS)
    rates = [f"{name} {device.ceilings[name].operations_per_s / 1e12:.3g}" for name in precisions]
    facts = {
        "Name": device.name,
        "Cores": f"{device.cores}",
        "Memory": figures.file_size(device.memory_bytes),
        "Compute": f"{', '.join(rates)} Top/s" if rates else say("not probed"),
        "Bandwidth": f"{device.bandwidth_bytes_per_s / 1e9:.3g} GB/s",
        "Instructions": ", ".join(device.instruction_sets),
        "Accelerators": ", ".join(device.accelerators),
        "Runtimes": ", ".join(f"{name} {version}" for name, version in device.runtimes.items()),
        "Probed": device.probed_at,
        "Basis": say(device.basis),
        "Id": device.id[:12],
    }
    return {say(name): value for name, value in facts.items() if value}


def _balance(run: RunFile) -> list[tuple[str, int, float]]:
    """Training samples per class as (label, count, percent of the largest)."""
    train = run.card.splits.get("train")
    counts = dict(train.classes) if train else {}
    most = max(counts.values(), default=0) or 1
    return [(label, counts[label], 100 * counts[label] / most) for label in words.in_order(counts, run.card.labels)]
