"""AutoGluon-Tabular (Erickson et al. 2020, arXiv:2003.06505) at its presets, for tables and, by its n-grams, for texts.

It is given the files of train and validation to do with as it likes, the metric, and the time. What answers is its own
copy for deployment, its models held in memory.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

TRUTH = "the truth"  # no column of a table is called so
OVERHEAD = 0.9  # of the time left goes to its own clock: it closes a few seconds after that
LEAST_S = 20.0  # with less than that it fits next to nothing


def record(raw: bytes, texts: bool) -> Mapping[str, Any]:
    """One input as a row."""
    found: Mapping[str, Any] = {"text": raw.decode()} if texts else json.loads(raw)
    return found


def learn(given: Any, folder: Path, *, preset: str) -> str:
    """Fit within the time left, then keep what deployment needs."""
    import pandas
    from autogluon.tabular import TabularPredictor

    texts, classes = given.facts["media"] == "text", given.truth == "class"
    frames = []
    for split in ("train", "validation"):
        frame = pandas.DataFrame([record(raw, texts) for raw in given.raws(split)])
        truths = given.truths(split)
        frame[TRUTH] = [given.labels[number] for number in truths] if classes else truths
        frames.append(frame)
    problem = ("binary" if len(given.labels) == 2 else "multiclass") if classes else "regression"
    metric = "accuracy" if classes else "root_mean_squared_error"
    predictor = TabularPredictor(TRUTH, problem, metric, path=str(folder / "fit"), verbosity=0)
    limit = max(min(LEAST_S, given.seconds), (given.ends - time.monotonic()) * OVERHEAD)
    bagged = preset == "best_quality"  # then it validates across folds of both files
    data = {"train_data": pandas.concat(frames)} if bagged else {"train_data": frames[0], "tuning_data": frames[1]}
    # else a first fit decides whether to stack at all, and in a minute or two leaves no time for the second
    more = {"dynamic_stacking": False} if bagged else {}
    predictor.fit(**data, presets=preset, time_limit=limit, num_cpus=given.threads, num_gpus=0, **more)
    predictor.clone_for_deployment(str(folder / "deployed"))
    shutil.rmtree(folder / "fit")
    facts = {"texts": texts, "labels": list(given.labels) if classes else []}
    (folder / "facts.json").write_text(json.dumps(facts), encoding="utf-8")
    return f"{preset}: {predictor.model_best}"


def load(folder: Path) -> tuple[Callable[[bytes], Any], Callable[[list[bytes]], Any]]:
    """From an input's bytes to the label, or to the number."""
    import pandas
    from autogluon.tabular import TabularPredictor

    facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    predictor = TabularPredictor.load(str(folder / "deployed"))
    predictor.persist()

    def frame(raws: list[bytes]) -> Any:
        return pandas.DataFrame([record(raw, facts["texts"]) for raw in raws])

    def answer(raw: bytes) -> Any:
        return predictor.predict(frame([raw])).iloc[0]

    def outputs(raws: list[bytes]) -> Any:
        if not facts["labels"]:
            return predictor.predict(frame(raws)).to_numpy(np.float32)[:, None]
        return predictor.predict_proba(frame(raws))[facts["labels"]].to_numpy(np.float32)

    return answer, outputs


SIDES = {preset: (partial(learn, preset=preset), load) for preset in ("best_quality", "medium_quality")}
