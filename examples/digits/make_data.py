"""Write scikit-learn's handwritten digits (8×8 grey pictures, 1,797 in all) as folders of PNG files.

Makes ``data/train/0..9``, ``data/test/0..9`` (every class split 80:20) and ``seven.png``, a picture of the test set
to try the package on. Nothing is downloaded: the pictures come with scikit-learn. Run again, it does nothing.

Source: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI ML Repository (CC BY 4.0).
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
TEST_SHARE = 0.2
BRIGHTEST = 16  # the pictures count set pixels of 4×4 blocks


def main() -> None:
    """Make what is missing."""
    data, sample = FOLDER / "data", FOLDER / "seven.png"
    if data.is_dir() and sample.is_file():
        print(f"{data} is there already")
        return
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    chance = np.random.default_rng(0)
    made = Path(tempfile.mkdtemp(prefix=".data-", dir=FOLDER))  # renamed when whole, so a kill leaves no half of it
    try:
        for label in range(10):
            rows = chance.permutation(np.flatnonzero(digits.target == label))
            tests = round(len(rows) * TEST_SHARE)
            for split, chosen in (("test", rows[:tests]), ("train", rows[tests:])):
                folder = made / split / str(label)
                folder.mkdir(parents=True)
                for row in sorted(chosen):
                    pixels = np.round(digits.images[row] * (255 / BRIGHTEST)).astype(np.uint8)  # (8, 8)
                    Image.fromarray(pixels).save(folder / f"{row:04d}.png")
        shutil.copyfile(min((made / "test" / "7").iterdir()), sample)
        shutil.rmtree(data, ignore_errors=True)
        os.chmod(made, 0o755)
        made.rename(data)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    counts = {split: sum(1 for _ in (data / split).rglob("*.png")) for split in ("train", "test")}
    print(f"{data}: {counts['train']:,} pictures to train on, {counts['test']:,} to test on; {sample.name} to try")


if __name__ == "__main__":
    main()
