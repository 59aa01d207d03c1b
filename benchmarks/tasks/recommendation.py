"""Claim: the chosen package recommends as well as the best tuned peer, at a fifth of its p95 or a fifth of its size.

On each user's last interaction, judged by NDCG@10. The peers learn from the same histories for as long as the run took,
choose their settings on the same validation items, and answer the same requests from their bytes to ten titles:

neighbours, EASE: popularity and cosine neighbours, and the whole item-item matrix in closed form, in NumPy and SciPy.
implicit: ALS, BPR, cosine and BM25 neighbours of the package implicit 0.7.3, in an environment of its own.
RecBole: SASRec of RecBole 1.2.1 at its own settings, in an environment of its own. (LightFM 1.17 has no wheel.)

    python benchmarks/tasks/recommendation.py --time 1m                            # runs examples/movielens.yaml first
    python benchmarks/tasks/recommendation.py --package runs/movielens-1a2b3c/package
"""

from __future__ import annotations

import sys

from _contest import Contest, Peer
from _environments import IMPLICIT, RECBOLE

CONTEST = Contest(
    __doc__,
    ("recommendation",),
    "movielens.yaml",
    ("hit_rate_at_10", "recall_at_20", "mrr", "coverage"),
    (
        Peer("neighbours", "recommenders", "neighbours"),
        Peer("EASE", "recommenders", "ease"),
        Peer("implicit", "with_implicit", "implicit", IMPLICIT),
        Peer("RecBole", "with_recbole", "recbole", RECBOLE),
    ),
)

main = CONTEST.main

if __name__ == "__main__":
    sys.exit(main())
