"""Claim: the chosen package scores as well as the best tuned peer, at a fifth of its p95 or a fifth of its size.

The peers learn from the same texts for as long as the run took, on this machine and on as many cores:

scikit-learn: TF-IDF of words and pairs of words, or of characters, then logistic regression or a linear SVM.
AutoGluon: AutoGluon-Tabular 1.6.3, preset medium_quality, with its own n-gram features of a text column, which are of
    words between spaces (so it sees little in Chinese), in an environment of its own. Its AutoMM, which fine-tunes a
    pretrained encoder of 700 MB, is no peer of this budget on two cores, and is not run.

    python benchmarks/tasks/text_classification.py --time 1m                       # runs examples/sms_spam.yaml first
    python benchmarks/tasks/text_classification.py --requirement examples/hotel_zh.yaml --time 1m
    python benchmarks/tasks/text_classification.py --package runs/sms_spam-1a2b3c/package
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

from _contest import Contest, Peer
from _environments import AUTOGLUON
from _subject import Subject

UNSPACED = ("Han", "Kana", "Thai")


def unspaced(subject: Subject) -> Mapping[str, bool]:
    """Most texts are in a script without spaces between words."""
    scripts = subject.file.card.facts.get("scripts", {})
    return {"unspaced": sum(scripts.get(name, 0) for name in UNSPACED) > sum(scripts.values()) / 2}


CONTEST = Contest(
    __doc__,
    ("text-classification",),
    "sms_spam.yaml",
    ("f1_macro",),
    (
        Peer("scikit-learn", "texts", "scikit-learn"),
        Peer("AutoGluon", "with_autogluon", "medium_quality", AUTOGLUON),
    ),
    unspaced,
)

main = CONTEST.main

if __name__ == "__main__":
    sys.exit(main())
