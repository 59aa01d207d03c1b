"""From outcomes to rows, a table, the verdict and the CSV."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from _protocol import slug, surroundings

from briefs.course import Course, judged
from briefs.draw import Brief
from briefs.peers import PEERS, Peer, able
from briefs.peers import judged as peer_judged

OVER = 0.1  # of the budget
OURS = "Sartor"
Row = dict[str, object]


def rows_of(course: Course, briefs: Sequence[Brief]) -> list[Row]:
    """One row for each requirement that was run, and for each that a peer was put to."""
    mine = [row for brief in briefs if (row := _row(course, brief)) is not None]
    return mine + [
        row for peer in PEERS for brief in able(peer, briefs) if (row := _peer_row(course, brief, peer)) is not None
    ]


def _peer_row(course: Course, brief: Brief, peer: Peer) -> Row | None:
    outcome, row = course.kept(brief, f"peer-{peer.file}"), _row(course, brief)
    if outcome is None or row is None:
        return None
    verdict, why = peer_judged(brief, outcome)
    return row | {
        "who": peer.name,
        "verdict": verdict,
        "why": why,
        "chosen": "",
        "wall_s": round(outcome["wall_s"], 1),
        "overrun": round(outcome["wall_s"] / brief.seconds - 1, 3),
        "again_after_s": "",
        "fresh_rows": "",
    }


def _row(course: Course, brief: Brief) -> Row | None:
    run = course.kept(brief, "run")
    if run is None:
        return None
    verify, fresh = course.kept(brief, "verify"), course.kept(brief, "fresh")
    verdict, why = judged(brief, run, verify)
    return {
        "who": OURS,
        "brief": brief.name,
        "data": brief.subject,
        "task": brief.task,
        "kind": brief.kind,
        "possible": "no" if brief.binding else "yes",
        "limits": _limits(brief.document["limits"]),
        "verdict": verdict,
        "why": why,
        "chosen": run["chosen"],
        "budget_s": brief.seconds,
        "wall_s": round(run["wall_s"], 1),
        "overrun": round(run["wall_s"] / brief.seconds - 1, 3),
        "again_after_s": round(verify["at"] - run["ended"]) if verify else "",
        "fresh_rows": _worst(fresh) if fresh else "",
        "known_by": brief.why,
    }


def _limits(limits: Mapping[str, Mapping[str, float]]) -> str:
    return "; ".join(f"{name} {bound} {value:g}" for name, both in limits.items() for bound, value in both.items())


def _worst(found: Mapping[str, object]) -> str:
    """Of quality on fresh rows: the worst verdict on a limit."""
    outcomes = [one["outcome"] for one in found["limits"] if not one["limit"].split(".")[1].endswith(COSTS)]  # type: ignore[attr-defined]
    for word in ("missed", "inconclusive", "not re-measured", "met"):
        if word in outcomes:
            return word
    return str(found.get("sentence", ""))


COSTS = ("_ms", "_mb", "_per_s")


def summary(rows: Sequence[Row]) -> str:
    """A table by who, the sentences, and the verdict on the claim."""
    mine = [row for row in rows if row["who"] == OURS]
    counts = Counter(str(row["verdict"]) for row in mine)
    over = [row for row in mine if float(str(row["overrun"])) > OVER]
    lines = [f"{len(mine)} requirements: " + ", ".join(f"{count} {word}" for word, count in counts.most_common())]
    for row in mine:
        if row["verdict"] not in ("delivered", "refused") or row in over:
            lines.append(f"  {row['brief']}: {row['verdict']}, {float(str(row['overrun'])):+.0%}: {row['why']}")
    lines += [f"{word:7} {sentence}" for word, sentence in verdicts(mine)]
    for name in sorted({str(row["who"]) for row in rows} - {OURS}):
        theirs = [row for row in rows if row["who"] == name]
        told = Counter(str(row["verdict"]) for row in theirs)
        lines.append(f"{name}, {len(theirs)} of them: " + ", ".join(f"{n} {word}" for word, n in told.most_common()))
    return "\n".join(lines)


def verdicts(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """HOLDS or FAILS for each part of the claim."""
    given = [row for row in rows if row["verdict"] in ("delivered", "unproven", "wrong delivery")]
    good = sum(row["verdict"] == "delivered" for row in given)
    bad = sum(row["verdict"] == "wrong delivery" for row in given)
    impossible = [row for row in rows if row["possible"] == "no"]
    refused = sum(row["verdict"] == "refused" for row in impossible)
    possible = [row for row in rows if row["possible"] == "yes"]
    wrong = sum(row["verdict"] == "wrong refusal" for row in possible)
    over = [float(str(row["overrun"])) for row in rows]
    late = sum(one > OVER for one in over)
    return [
        ("FAILS" if bad else "HOLDS" if good == len(given) else "OPEN",
         f"{good} of {len(given)} delivered packages met every limit again"),
        ("HOLDS" if refused == len(impossible) else "FAILS",
         f"{refused} of {len(impossible)} impossible requirements refused, by the limit that is impossible"),
        ("FAILS" if late else "HOLDS",
         f"{late} of {len(rows)} ran over their budget by more than {OVER:.0%} (worst {max(over, default=0.0):+.0%})"),
        ("FAILS" if wrong else "HOLDS", f"{wrong} of {len(possible)} possible requirements refused"),
    ]  # fmt: skip


def write(folder: Path, rows: Sequence[Row], *, seed: int, drawn: int, smoke: bool) -> Path:
    """The CSV; its name says under which conditions it holds."""
    everything = {**surroundings(), "seed": seed, "drawn": drawn}
    kind = "smoke" if smoke else f"seed{seed}"
    stem = f"meets_the_brief-{kind}-{len(rows)}rows-{everything['cores']}cores-{everything['processor']}"
    path = folder / f"{slug(stem)}.csv"
    folder.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*rows[0], *everything])
        writer.writeheader()
        writer.writerows({**row, **everything} for row in rows)
    return path
