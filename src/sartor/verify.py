"""Does a package still hold what it promised, on this machine? Integrity, golden pairs, and every limit again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sartor.errors import DataError, Refused, Unsupported
from sartor.levels import Reach, level_of, reach_of
from sartor.metrics import COST_METRICS, Metric, index
from sartor.progress import Tell, silent
from sartor.stages.decide.judge import judge
from sartor.stages.package import Contents, GoldenResult, Model, compare, open_package
from sartor.stages.package.card import chosen_record
from sartor.stand import Stand
from sartor.types import DataCard, Limit, Measurement, Record, RunFile, Verdict

SECONDS = 3.0  # timed per process
PROCESSES = 2
ATTEMPTS = 3  # while the noise of others leaves a limit open
_NO_COUNTER = "no energy counter of this machine can be read"
_RELATIVE = "_drop"  # metrics against the uncompressed parent, which is not in the package

VerifyStatus = Literal["met", "regression", "inconclusive"]


@dataclass(frozen=True)
class LimitCheck:
    """One limit then and now.

    Args:
        then: what the decision rests on.
        now: measured here; None where it was not re-measured.
        outcome: ``met``, ``missed``, ``inconclusive`` or ``not re-measured``.
        sentence: why, in words.
    """

    limit: Limit
    then: Measurement | None
    now: Measurement | None
    outcome: str
    sentence: str


@dataclass(frozen=True)
class VerifyResult:
    """What was found.

    Args:
        digest: of the package's manifest: every byte was as it says.
        golden: how golden pairs were reproduced.
        limits: each limit of the requirement.
        device_then: id of the device the evidence is from.
        device_now: id of this one; the names of both stand beside.
        notes: what else to know about the numbers.
        data: one sentence on what quality was measured on.
    """

    status: VerifyStatus
    digest: str
    golden: GoldenResult
    limits: tuple[LimitCheck, ...]
    device_then: str
    device_now: str
    device_name_then: str
    device_name_now: str
    data: str
    notes: tuple[str, ...] = ()


def verify(
    path: Path | str,
    *,
    data: str | None = None,
    workspace: Path | None = None,
    seconds: float = SECONDS,
    processes: int = PROCESSES,
    tell: Tell = silent,
) -> VerifyResult:
    """Check a package, ask its golden pairs, and measure its limits on this machine.

    Cost is always measured, in fresh processes. Quality is measured on the recorded test data where that is still
    there unchanged, else on ``data``, else not at all (and said so).

    Args:
        path: package folder or ``.sartor`` file.
        data: labelled data to measure quality on, instead of what is recorded.
        workspace: where prepared data is kept; thrown away where None.
        seconds: timed per process.
        processes: fresh processes to time in.
        tell: hears of progress.

    Raises:
        Refused: a byte of the package differs from its manifest, its model must not be loaded, or it is an int8 file
            on a processor of a level that its accuracy was not shown on, and there is no data to measure it on.
        DataError: ``data`` was given and does not fit.
        Unsupported: the model cannot be run here.

    Example:
        >>> verify("runs/digits/package").status  # doctest: +SKIP
        'met'
    """
    tell("checking every byte")
    contents = open_package(path)
    run = contents.run
    _refuse_inconsistency(contents, run)
    tell("asking the golden pairs")
    model = Model(contents)
    raws, expected = contents.golden_inputs(), contents.golden_outputs
    golden = compare(contents.golden, expected, raws, model, model.task, contents.pipeline.precision)
    requirement = contents.requirement
    reach = reach_of(contents.run.decision.verdicts, contents.pipeline)
    with Stand(
        requirement.task,
        confidence=requirement.confidence,
        seed=requirement.seed,
        workspace=workspace,
        tell=tell,
    ) as stand:
        device = stand.device
        card, sentence = _quality_data(contents, stand, data)
        notes = _elsewhere(contents, reach, level_of(device.instruction_sets), measured=card is not None)
        measured, more = _measure(contents, stand, card, seconds, processes)
    limits = tuple(_check(limit, contents, run, measured) for limit in requirement.limits)
    return VerifyResult(
        _status(limits, golden),
        contents.manifest.digest,
        golden,
        limits,
        run.device.id,
        device.id,
        run.device.name,
        device.name,
        sentence,
        notes + more,
    )


def _elsewhere(contents: Contents, reach: Reach | None, level: str, *, measured: bool) -> tuple[str, ...]:
    """What to say of an int8 package on a processor of another level than its evidence is from.

    Raises:
        Refused: its accuracy was not shown there, and is not measured now.
    """
    if reach is None or level == reach.own:
        return ()
    name = level or "an unknown kind"
    if level in reach.holds:
        return (f"an int8 file made on {reach.own}: its accuracy was shown on processors of level {name} too",)
    if measured:
        return (f"an int8 file made on {reach.own}: on a processor of level {name} what is measured here counts",)
    shown = ", ".join(reach.holds)
    failed = f"; on {level} {reach.fails[level]}" if level in reach.fails else ""
    raise Refused(
        f"{contents.place}: an int8 file whose accuracy was shown on processors of level {shown} only{failed}; "
        f"this one is of {name}: give --data to measure it here, or run again for this machine"
    )


def _refuse_inconsistency(contents: Contents, run: RunFile) -> None:
    """A sound manifest over contents that contradict each other is no package of ours."""
    artifact = chosen_record(run).artifact
    model = contents.manifest.files[contents.pipeline.model].sha256
    if run.decision.status != "met" or artifact is None or artifact.sha256 != model:
        raise Refused(f"{contents.place}: decision.json was not made for this model file")
    if run.requirement != contents.requirement:
        raise Refused(f"{contents.place}: its documents contradict each other; ask for the original package")


def _measure(
    contents: Contents, stand: Stand, card: DataCard | None, seconds: float, processes: int
) -> tuple[tuple[Measurement, ...], tuple[str, ...]]:
    """Measurements made here, quality where ``card`` has labelled data, and notes."""
    artifact = stand.take_package(contents.folder, contents.pipeline).sha256
    notes = []
    if card is not None:
        timed_on = card.fingerprint
    else:
        raws = contents.golden_inputs()
        what = f"the {len(raws)} golden inputs" if raws else "made-up inputs"
        notes.append(f"timed on {what}, as the data is not at hand")
        timed_on = stand.stand_in(raws or stand.noise(16, contents.pipeline.input_size), contents.labels)
    found: tuple[Measurement, ...] = ()
    for attempt in range(ATTEMPTS):
        longer = seconds + attempt
        found = stand.measure(artifact, contents.pipeline, timed_on, seconds=longer, processes=processes).measurements
        checks = [_check(limit, contents, contents.run, found) for limit in contents.requirement.limits]
        if not any(check.now and check.now.noisy and check.outcome == "inconclusive" for check in checks):
            break
    if card is not None:
        found += stand.evaluate(artifact, contents.pipeline, card)
    # Drops are against the parent, which is not here; without it they would read as zero.
    return tuple(one for one in found if not one.metric.name.endswith(_RELATIVE)), tuple(notes)


def _quality_data(contents: Contents, stand: Stand, data: str | None) -> tuple[DataCard | None, str]:
    """Prepared data to score on (None where there is none), and a sentence about it."""
    if data is not None:
        card = stand.prepare_labelled(data, contents.labels, contents.requirement.data)
        return card, f"quality measured on {data} ({card.splits['test'].samples:,} samples)"
    source = contents.requirement.data
    named = [address for address in (source.train, source.validation, source.test) if address]
    if any(address.startswith("hub:") or not Path(address).exists() for address in named):
        return None, "the recorded data is not on this machine: quality was not re-measured; give --data"
    try:
        card = stand.prepare(source)
    except (DataError, Unsupported) as error:
        return None, f"the recorded data cannot be used any more ({error}): quality was not re-measured; give --data"
    then, now = contents.run.card.splits["test"], card.splits.get("test")
    if now is None or now.fingerprint != then.fingerprint:
        return None, "the recorded test data has changed since: quality was not re-measured; give --data"
    return card, f"quality measured on the recorded test data ({now.samples:,} samples)"


def _check(limit: Limit, contents: Contents, run: RunFile, measured: tuple[Measurement, ...]) -> LimitCheck:
    then = next((verdict.measurement for verdict in run.decision.verdicts if verdict.limit == limit), None)
    record = chosen_record(run)
    now = next((one for one in measured if one.metric.name == limit.metric), None)
    if now is None:
        title = _metrics(run)[limit.metric].title
        reason = "it needs the uncompressed parent" if limit.metric.endswith(_RELATIVE) else "it needs data"
        reason = _NO_COUNTER if limit.metric == "energy_mj" else reason
        return LimitCheck(limit, then, None, "not re-measured", f"{title} was not re-measured: {reason}")
    verdict: Verdict = judge(Record(record.candidate, (now,), record.artifact), limit, _metrics(run))
    return LimitCheck(limit, then, now, verdict.outcome, verdict.sentence)


def _metrics(run: RunFile) -> Mapping[str, Metric]:
    return index((*COST_METRICS, *run.metrics))


def _status(limits: tuple[LimitCheck, ...], golden: GoldenResult) -> VerifyStatus:
    outcomes = {check.outcome for check in limits}
    if "missed" in outcomes or golden.mismatches:
        return "regression"
    return "inconclusive" if "inconclusive" in outcomes else "met"
