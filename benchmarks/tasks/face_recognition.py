"""Claim: of people never seen the package accepts as many as the best peer, at a fifth of its p95 or of its size.

At equal false accepts (1 %), on the pictures of the run's test people. The peers learn from the people of train for as
long as the run took, and embed the same pictures from the bytes of their files; embeddings are compared by cosine:

eigenfaces: scikit-learn's PCA of 32 × 32 grey pixels, 100 whitened components.
binary patterns: uniform local binary patterns in 8 × 8 cells, which learn nothing.
softmax network: a residual network trained as classifier with Adam, its last features, in eager PyTorch.

    python benchmarks/tasks/face_recognition.py --time 1m                          # runs examples/orl_faces.yaml first
    python benchmarks/tasks/face_recognition.py --package runs/orl-faces-1a2b3c/package
"""

from __future__ import annotations

import sys

from _contest import Contest, Peer

CONTEST = Contest(
    __doc__,
    ("face-recognition",),
    "orl_faces.yaml",
    ("tar_at_far_0_001", "auc", "eer", "rank_1"),
    (
        Peer("eigenfaces", "faces", "pca"),
        Peer("binary patterns", "faces", "lbp"),
        Peer("softmax network", "faces", "softmax"),
    ),
)

main = CONTEST.main

if __name__ == "__main__":
    sys.exit(main())
