"""What a contest comes to: the difference on the same samples, and whether the claim holds against the best peer."""

from __future__ import annotations

from collections.abc import Sequence

from _protocol import CONFIDENCE, Row

from sartor.catalog.contracts import Scores
from sartor.metrics import Metric
from sartor.stages.measure.quality import lost

ENOUGH = 5.0  # times the p95, or the size
BETTER = "ours better by"


def difference(metric: Metric, ours: Scores, theirs: Scores) -> Row:
    """By how much ours is better on the same samples: paired, by bootstrap where the metric is no mean."""
    worse, low, high = lost(metric, theirs, ours, CONFIDENCE)
    return Row(f"{metric.title}, {BETTER}", metric.unit, -worse, None, low=-high, high=-low, n=len(ours.correct))


def verdict(rows: Sequence[Row]) -> tuple[str, str]:
    """HOLDS, FAILS or OPEN, and the numbers behind it, from the rows against the best peer.

    HOLDS: the peer is not better beyond noise, and takes at least ``ENOUGH`` times the p95, as far as the blocks show
    it, or that many times the bytes. OPEN: the p95 would be enough, but for its noise.
    """
    gap = next(row for row in rows if row.quantity.endswith(BETTER))
    p95, size = (next(row for row in rows if row.quantity == name) for name in ("latency p95", "size"))
    faster, smaller = p95.ratio or 0.0, size.ratio or 0.0
    gained = f"better by {gap.ours:+.4g} ({gap.low:+.4g} … {gap.high:+.4g})"
    pace = f"{faster:.3g} × lower p95" if p95.ratio else "p95 not told by so few calls"
    why = f"{gained}, {pace}, {smaller:.3g} × smaller"
    if (gap.high or 0.0) < 0 or max(faster, smaller) < ENOUGH:
        return "FAILS", why
    return ("HOLDS" if smaller >= ENOUGH or p95.claimed == "yes" else "OPEN"), why
