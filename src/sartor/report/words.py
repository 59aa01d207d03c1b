"""A decision in words: lines for a terminal, made from the run's file alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from sartor.errors import SartorError, nearest
from sartor.language import say
from sartor.language.layout import labelled, padded, width, wrapped
from sartor.metrics import Metric, index
from sartor.report.figures import bound, duration, interval, plain, quantity
from sartor.types import DataCard, Decision, Fate, Measurement, Record, Requirement, RunFile, Verdict

WIDTH = 112
SPLITS = ("train", "validation", "test")
HEADINGS: Mapping[str, str] = {"met": "MET", "infeasible": "INFEASIBLE", "inconclusive": "INCONCLUSIVE"}


def verdict_lines(run: RunFile) -> list[str]:
    """The answer first: verdict, the limits with their intervals, and why this one or what would do instead."""
    decision = run.decision
    heading = say(HEADINGS[decision.status])
    head = f"{heading}   {shown(decision.chosen)}" if decision.chosen else heading
    spent = run_seconds(run)
    lines = [f"{head}   {say('run')} {duration(spent)}" if spent else head]
    if not decision.chosen or decision.status != "met":
        lines.append(f"  {say(decision.sentence)}")
    lines += limit_lines(run, decision.verdicts)
    if decision.status == "infeasible":
        lines += certificate_lines(run)
    lines += _labelled("Why this one" if decision.status == "met" else "Also", decision.why)
    lines += _labelled("Advice", decision.advice)
    lines += _labelled("More time", (decision.prospect,) if decision.prospect else ())
    return lines


def limit_lines(run: RunFile, verdicts: Sequence[Verdict]) -> list[str]:
    """One aligned line per limit: value, interval and where it comes from, bound, outcome."""
    metrics, touched = index(run.metrics), test_uses(run)
    rows = []
    for verdict in verdicts:
        metric = metric_of(metrics, verdict.limit.metric)
        measurement = verdict.measurement
        value = quantity(metric, measurement.value) if measurement else say("unknown")
        rows.append(
            (
                say(metric.title),
                value,
                provenance(metric, measurement, touched),
                bound(metric, verdict.limit),
                outcome(verdict),
            )
        )
    return aligned(rows)


def certificate_lines(run: RunFile) -> list[str]:
    """Why nothing meets the requirement: binding limits, the best value reached, measured relaxations."""
    certificate = run.decision.certificate
    if certificate is None:
        return []
    metrics = index(run.metrics)
    limits = {limit.key: limit for limit in run.requirement.limits}
    rows = []
    for key in certificate.binding:
        limit, best = limits.get(key), certificate.best.get(key)
        name = limit.metric if limit else key
        metric = best.metric if best else metric_of(metrics, name)
        asked = f"{say(metric.title)} {bound(metric, limit)}" if limit else key
        reached = f"best reached {with_interval(metric, best)}, {best.basis}" if best else "nothing reached it"
        rows.append((say("binding limit"), asked, say(reached)))
    lines = aligned(rows) or [f"  {say(certificate.sentence)}"]
    if certificate.relaxations:
        lines.append(f"  {say('would do, each from a measured candidate')}")
        changes = [
            (say(" and ").join(change_words(run.requirement, metrics, item.changes)), f"→ {shown(item.candidate)}")
            for item in certificate.relaxations
        ]
        lines += ["  " + line for line in aligned(changes)]
    else:
        lines.append(f"  {say('no measured candidate shows a relaxation that would do')}")
    return lines


def decision_lines(run: RunFile, place: str) -> list[str]:
    """The whole decision: verdict, what was not chosen and why, what to type next; ``place`` is the run's path."""
    return [
        *requirement_lines(run),
        "",
        *verdict_lines(run),
        "",
        *reason_lines(run.decision),
        "",
        *next_lines(run, place),
    ]


def requirement_lines(run: RunFile) -> list[str]:
    """What was asked, of which data and which machine."""
    requirement, card, device = run.requirement, run.card, run.device
    counts = say(", ").join(say(f"{card.splits[name].samples:,} {name}") for name in in_order(card.splits, SPLITS))
    problems = sum(problem.count for problem in card.problems)
    asked = say(", ").join((requirement.task, answers_of(card), asked_of(requirement)))
    found = say(f"{problems:,} samples with problems" if problems else "no problems found")
    return [
        labelled("Requirement", asked),
        labelled("", limits_sentence(run)),
        labelled("Data", f"{counts} · {found}"),
        labelled("Machine", f"{device.name} · {say(f'{device.cores} cores')} · {say(device.basis)}"),
    ]


def answers_of(card: DataCard) -> str:
    """What there is to answer with: ``10 classes``; the task may have another word for them, or answer a number."""
    noun = str(card.facts.get("labels_are", "classes"))
    return say(f"{len(card.labels):,} {noun}" if card.labels else "a number")


def in_order(names: Iterable[str], order: Sequence[str]) -> list[str]:
    """Names as people expect them: those of ``order`` first, any others after (a file keeps keys sorted)."""
    present = list(names)
    return [name for name in order if name in present] + [name for name in present if name not in order]


def asked_of(requirement: Requirement) -> str:
    """Where it must run: ``on this machine with 2 threads``."""
    target = requirement.target
    threads = f"{target.threads} thread{'s' if target.threads != 1 else ''}"
    place = "this machine" if target.device == "local" else target.device
    return say(f"on {place} with {threads}" + (f", batch {target.batch}" if target.batch != 1 else ""))


def limits_sentence(run: RunFile) -> str:
    """``accuracy ≥ 0.97 · latency p95 ≤ 1 ms``; says so where there is no limit."""
    metrics = index(run.metrics)
    parts = []
    for limit in run.requirement.limits:
        metric = metric_of(metrics, limit.metric)
        parts.append(f"{say(metric.title)} {bound(metric, limit)}")
    return " · ".join(parts) or say("no limits: the best by the objectives")


def reason_lines(decision: Decision) -> list[str]:
    """One line per reason code: how many candidates, and one of them with its sentence."""
    others = [fate for fate in decision.fates if fate.candidate != decision.chosen]
    if not others:
        return [labelled("Not chosen", "there was no other candidate")]
    counts = Counter(fate.code for fate in others)
    rows = []
    for code, count in counts.most_common():
        example = next(fate for fate in others if fate.code == code)
        rows.append((f"{count:>4}", code, f"{say('e.g.')} {shown(example.candidate)}{say(': ')}{say(example.detail)}"))
    heading = labelled("Not chosen", f"{len(others)} candidate{'s' if len(others) != 1 else ''}, by reason")
    return [heading, *aligned(rows)]


def next_lines(run: RunFile, place: str) -> list[str]:
    """What to type next."""
    decision = run.decision
    lines = []
    other = next((fate.candidate for fate in decision.fates if fate.candidate != decision.chosen), "")
    if other:
        lines.append(f"sartor explain {place} {other}")
    if run.requirement.limits:
        limit = run.requirement.limits[0]
        lines.append(f"sartor explain {place} {limit.key}={plain(limit.value)}     {say('another limit, at once')}")
    if run.package:
        lines += [f"sartor {verb} {place}/{run.package}{more}" for verb, more in (("predict", " INPUT"), ("serve", ""))]
    return _labelled("Next", lines, wrap=False)


def candidate_lines(run: RunFile, candidate: str) -> list[str]:
    """One candidate: its fate, its verdicts, its numbers beside its parent's, and the evidence.

    Raises:
        SartorError: there is no such candidate; the nearest spelling is named.
    """
    record, fate = find(run, candidate)
    name = record.candidate.id
    if fate is None:
        lines = [say(f"{shown(name)} has no fate in this decision")]
    elif name == run.decision.chosen:
        lines = [say(f"{shown(name)} was chosen"), f"  {say(fate.detail)}"]
    else:
        lines = [say(f"{shown(name)} was not chosen: {fate.code}"), f"  {say(fate.detail)}"]
    lines += [f"  {say('refused')} {refusal.code}{say(': ')}{say(refusal.detail)}" for refusal in record.refusals]
    if fate and fate.verdicts:
        lines += ["", say("Limits"), *limit_lines(run, fate.verdicts)]
    lines += ["", say("Numbers"), *_number_lines(run, record)]
    if fate and fate.on_front:
        front = "on the Pareto front: nothing is better in one number without being worse in another"
        lines.append(f"  {say(front)}")
    if record.artifact:
        made = f", made by {record.artifact.made_by}" if record.artifact.made_by else ""
        lines += ["", labelled("Artifact", f"{record.artifact.sha256[:12]} ({record.artifact.format}){made}")]
    return lines


def find(run: RunFile, candidate: str) -> tuple[Record, Fate | None]:
    """The record and fate of a candidate; ids may be written with ``·`` or spaces, or be a unique beginning.

    Raises:
        SartorError: nothing or more than one thing fits.
    """
    wanted = "/".join(part for part in candidate.replace("·", "/").replace(" ", "").split("/") if part)
    ids = [record.candidate.id for record in run.records]
    matches = [name for name in ids if name == wanted] or [name for name in ids if name.startswith(wanted)]
    if len(matches) > 1:
        raise SartorError(f"{candidate!r} fits {len(matches)} candidates: {', '.join(matches[:6])}. Write one in full.")
    if not matches:
        near = nearest(wanted, ids)
        hint = (
            f" Did you mean {near}?" if near else f" There are {len(ids)}, for example {', '.join(ids[:3]) or 'none'}."
        )
        raise SartorError(f"{candidate!r} is not a candidate of this run.{hint}")
    record = next(item for item in run.records if item.candidate.id == matches[0])
    return record, next((fate for fate in run.decision.fates if fate.candidate == matches[0]), None)


def change_lines(run: RunFile, requirement: Requirement, decision: Decision) -> list[str]:
    """What another set of limits changes; ``run`` holds the old ones."""
    metrics = index(run.metrics)
    old = {limit.key: limit for limit in run.requirement.limits}
    new = {limit.key: limit for limit in requirement.limits}
    rows = []
    for key in [*old, *(key for key in new if key not in old)]:
        before, after = old.get(key), new.get(key)
        if before == after:
            continue
        metric = metric_of(metrics, (after or before).metric)  # type: ignore[union-attr]
        was = bound(metric, before) if before else say("no limit")
        now = bound(metric, after) if after else say("no limit")
        rows.append((say(metric.title), f"{was}  →  {now}"))
    lines = [
        say("With other limits (decided again from the recorded evidence, nothing was computed)"),
        *aligned(rows),
    ]
    was, now = _answer(run.decision), _answer(decision)
    lines.append(f"  {say('same answer')}{say(': ')}{now}" if was == now else f"  {was}  →  {now}")
    return lines


def change_words(requirement: Requirement, metrics: Mapping[str, Metric], changes: Mapping[str, float]) -> list[str]:
    """Changed limits by key as ``latency p95 ≤ 0.41 ms``."""
    limits = {limit.key: limit for limit in requirement.limits}
    words = []
    for key, value in changes.items():
        limit = limits.get(key)
        if limit is None:
            words.append(f"{key} = {plain(value)}")
        else:
            metric = metric_of(metrics, limit.metric)
            sign = bound(metric, limit).split(" ")[0]
            words.append(f"{say(metric.title)} {sign} {quantity(metric, value)}")
    return words


def action_name(action: str) -> str:
    """What was done, as a word: ``train``. Its name in other languages is that of ``to train``, not of the split."""
    return say(f"to {action}").removeprefix("to ")


def shown(candidate: str) -> str:
    """A candidate's id for people: ``resnet9-s · int8 · onnxruntime``."""
    return " · ".join(candidate.split("/"))


def outcome(verdict: Verdict) -> str:
    """``met``, ``missed`` or ``inconclusive``; says when it does not rest on the shipping artifact."""
    if verdict.measurement is None:
        return say("not known")
    return say(verdict.outcome if verdict.final else f"{verdict.outcome}, not final")


def provenance(metric: Metric, measurement: Measurement | None, touched: int = 0) -> str:
    """Interval, number of observations and basis: ``(0.967 … 0.993, n=360, test touched once)``."""
    if measurement is None:
        return ""
    parts = [interval(metric, measurement)]
    if measurement.n and (measurement.n > 1 or parts[0]):
        parts.append(f"n={measurement.n:,}")
    if measurement.split == "test":
        parts.append({0: "test", 1: "test touched once"}.get(touched, f"test touched by {touched} candidates"))
    elif measurement.split:
        parts.append(measurement.split)
    if measurement.basis != "measured":
        parts.append(measurement.basis)
    elif not measurement.trained:
        parts.append("untrained weights")
    if measurement.noisy:
        parts.append("noisy machine")
    text = say(", ").join(say(part) for part in parts if part)
    return f"({text})" if text else ""


def with_interval(metric: Metric, measurement: Measurement) -> str:
    """``0.38 ms (0.36 … 0.41)``."""
    between = interval(metric, measurement)
    return quantity(metric, measurement.value) + (f" ({between})" if between else "")


def metric_of(metrics: Mapping[str, Metric], name: str) -> Metric:
    """The metric, or a plain one of that name, so that a reader never fails on a newer file."""
    return metrics.get(name) or Metric(name, "", "lower", "cost", name.replace("_", " "))


def test_uses(run: RunFile) -> int:
    """How many candidates were scored on the test split."""
    return sum(any(item.split == "test" for item in record.measurements) for record in run.records)


def run_seconds(run: RunFile) -> float:
    """Time the run worked: its own steps, without what it reused and without the pauses of a continued run."""
    return sum(step.seconds for step in run.steps if not step.reused)


def aligned(rows: Sequence[Sequence[str]], indent: str = "  ") -> list[str]:
    """Rows as lines with columns of equal width, three spaces apart."""
    if not rows:
        return []
    widths = [max(width(cell) for cell in column) for column in zip(*rows, strict=True)]
    return [
        indent + "   ".join(padded(cell, room) for cell, room in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def _number_lines(run: RunFile, record: Record) -> list[str]:
    parent = next((item for item in run.records if item.candidate.id == record.parent), None)
    rows = []
    for item in record.measurements:
        theirs = parent and _same(parent.measurements, item)
        beside = f"{say('parent')} {with_interval(item.metric, theirs)}" if theirs else ""
        evidence = f"{say('artifact')} {item.artifact[:8]}" if item.artifact else ""
        rows.append(
            (say(item.metric.title), quantity(item.metric, item.value), provenance(item.metric, item), beside, evidence)
        )
    lines = aligned(rows) or [f"  {say('nothing was measured or estimated')}"]
    return [*lines, f"  {say('parent')}{say(': ')}{shown(record.parent)}"] if record.parent else lines


def _same(measurements: Iterable[Measurement], like: Measurement) -> Measurement | None:
    """The measurement of the same metric on the same split and basis."""
    alike = [item for item in measurements if item.metric.name == like.metric.name and item.split == like.split]
    return next((item for item in alike if item.basis == like.basis), None)


def _answer(decision: Decision) -> str:
    if decision.status == "met":
        return f"{say(HEADINGS['met'])} {shown(decision.chosen)}"
    if decision.next:
        return say(f"{HEADINGS[decision.status]}, {shown(decision.next)} would need final evidence")
    return say(HEADINGS[decision.status])


def _labelled(label: str, lines: Sequence[str], *, wrap: bool = True) -> list[str]:
    """Lines behind a label in the first column of 14 characters; prose is wrapped, what can be typed is not."""
    pieces = [piece for line in lines for piece in (wrapped(say(line), WIDTH - 14) if wrap else [line])]
    return [padded("" if row else say(label), 14) + piece for row, piece in enumerate(pieces)]
