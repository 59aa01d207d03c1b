"""Claim: the chosen package scores as well as the best tuned peer, at a fifth of its p95 or a fifth of its size.

The peers learn from the same rows for as long as the run took, on this machine and on as many cores:

scikit-learn: random search over a linear model, histogram boosting, a random forest, and LightGBM.
AutoGluon best, AutoGluon medium: AutoGluon-Tabular 1.6.3 with its presets best_quality (bagging and stacking across
    folds of train and validation) and medium_quality, in an environment of its own that is made at the first call; what
    answers is its copy for deployment, held in memory.

    python benchmarks/tasks/tabular.py --time 1m                                   # runs examples/spambase.yaml first
    python benchmarks/tasks/tabular.py --requirement examples/diamonds.yaml --time 1m
    python benchmarks/tasks/tabular.py --package runs/spambase-1a2b3c/package --seconds 60
"""

from __future__ import annotations

import sys

from _contest import Contest, Peer
from _environments import AUTOGLUON

CONTEST = Contest(
    __doc__,
    ("tabular-classification", "tabular-regression"),
    "spambase.yaml",
    ("auc", "f1_macro", "mae", "r2"),
    (
        Peer("scikit-learn", "tables", "scikit-learn"),
        Peer("AutoGluon best", "with_autogluon", "best_quality", AUTOGLUON),
        Peer("AutoGluon medium", "with_autogluon", "medium_quality", AUTOGLUON),
    ),
)

main = CONTEST.main

if __name__ == "__main__":
    sys.exit(main())
