"""Environments of peers that cannot share ours: made once by pip, with pinned versions, in a folder of the cache."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import venv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sartor-benchmarks"


@dataclass(frozen=True)
class Environment:
    """Packages with the versions that were tried together on Python 3.11."""

    name: str
    packages: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """Where it lies; another list of packages, or another Python, is another folder."""
        told = "\n".join((*self.packages, sys.version)).encode()
        return CACHE / f"{self.name}-{hashlib.sha256(told).hexdigest()[:12]}"

    @property
    def python(self) -> str:
        """Its interpreter."""
        return str(self.folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))

    @property
    def ready(self) -> bool:
        """It was made to its end."""
        return (self.folder / "made").is_file()

    def make(self, say: Callable[[str], None]) -> None:
        """Make it where it is not there yet; minutes, most of it downloading.

        Raises:
            OSError: pip could not install the packages.
        """
        if self.ready:
            return
        say(f"installing {self.name} ({', '.join(self.packages)}) in {self.folder}")
        venv.create(self.folder, clear=True, with_pip=True)
        command = [self.python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", *self.packages]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise OSError(f"pip could not install {self.name}: {(done.stderr.strip() or '?').splitlines()[-1]}")
        (self.folder / "made").touch()


AUTOGLUON = Environment(
    "autogluon", ("autogluon.tabular[lightgbm,catboost]==1.6.3", "xgboost-cpu==3.2.0", "torch==2.13.0")
)
OPTUNA = Environment(
    "optuna", ("optuna==5.0.0", "skl2onnx==1.20.0", "scikit-learn==1.9.1", "onnxruntime==1.32.0", "pillow==13.0.0")
)
IMPLICIT = Environment("implicit", ("implicit==0.7.3",))
RECBOLE = Environment("recbole", ("recbole==1.2.1", "numpy==1.26.4", "pandas==2.2.3", "scipy==1.11.4", "torch==2.13.0"))
