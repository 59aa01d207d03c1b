"""RecBole (Zhao et al. 2021, arXiv:2011.01731): its SASRec at its own settings, as many epochs as there is time for.

It reads histories up to the last item of validation from its own kind of file and leaves the last one out to choose the
epoch by NDCG@10, which is the split that all sides have.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from items import Array, Met, listing

DATASET = "met"


class _Over(Exception):
    """No time is left; the best epoch so far is on disk."""


def learn(given: Any, folder: Path) -> str:
    """Train and keep the best epoch's weights with what builds the model again."""
    import torch

    met = Met(given)
    torch.set_num_threads(given.threads)
    place = folder / "data" / DATASET
    place.mkdir(parents=True)
    _write_interactions(place / f"{DATASET}.inter", met)
    os.chdir(folder)  # it writes logs and checkpoints where it is
    config, dataset, parts = _prepared(folder / "data", given)
    from recbole.model.sequential_recommender import SASRec
    from recbole.trainer import Trainer

    model = SASRec(config, dataset)
    trainer = Trainer(config, model)
    epochs = 0

    def look(epoch: int, value: float) -> None:
        nonlocal epochs
        epochs = epoch + 1
        if given.over:
            raise _Over

    note = "stopped by itself"
    try:
        trainer.fit(parts[0], parts[1], saved=True, show_progress=False, verbose=False, callback_fn=look)
    except _Over:
        note = "stopped by the time"
    weights = torch.load(trainer.saved_model_file, map_location="cpu", weights_only=False)["state_dict"]
    token = dataset.field2id_token["item_id"]  # its own numbers; 0 is padding
    order = [int(name[1:]) if place else -1 for place, name in enumerate(token.tolist())]
    shape = {
        key: config[key]
        for key in (
            "n_layers", "n_heads", "hidden_size", "inner_size", "hidden_dropout_prob", "attn_dropout_prob",
            "hidden_act", "layer_norm_eps", "initializer_range", "loss_type", "MAX_ITEM_LIST_LENGTH",
        )
    }  # fmt: skip
    torch.save(weights, folder / "weights.pt")
    (folder / "facts.json").write_text(
        json.dumps({"shape": shape, "order": order, "names": met.names, "items": len(token)}), encoding="utf-8"
    )
    for path in sorted([*folder.glob("data/**/*"), *folder.glob("saved/*"), *folder.glob("log*/**/*")], reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    return f"SASRec, {epochs} epochs, {note}"


def _write_interactions(path: Path, met: Met) -> None:
    """Train's items of each user in their order, then the one of validation."""
    last = {user: wanted for _, user, wanted in met.validation}
    with path.open("w", encoding="utf-8") as file:
        file.write("user_id:token\titem_id:token\ttimestamp:float\n")
        for user, history in zip(met.users, met.histories, strict=True):
            for moment, item in enumerate([*history, *last.get(user, [])[:1]]):
                file.write(f"u{user}\ti{item}\t{moment}\n")


def _prepared(data: Path, given: Any) -> tuple[Any, Any, Any]:
    """Its configuration, its dataset, and train and validation as it loads them."""
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import init_seed

    settings = {
        "data_path": str(data), "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "eval_args": {"split": {"LS": "valid_only"}, "order": "TO", "mode": "full", "group_by": "user"},
        "metrics": ["NDCG"], "topk": [10], "valid_metric": "NDCG@10", "train_neg_sample_args": None,
        "epochs": 10_000, "stopping_step": 20, "eval_step": 1, "seed": given.seed, "use_gpu": False,
        "show_progress": False, "state": "ERROR", "log_wandb": False, "user_inter_num_interval": "[0,inf)",
    }  # fmt: skip
    config = Config(model="SASRec", dataset=DATASET, config_dict=settings)
    init_seed(config["seed"], True)
    dataset = create_dataset(config)
    return config, dataset, data_preparation(config, dataset)


def load(folder: Path) -> tuple[Callable[[bytes], Any], Callable[[list[bytes]], Any]]:
    """The model of the package in eager PyTorch, as it predicts over all items."""
    import torch
    from recbole.model.sequential_recommender import SASRec

    torch.set_num_threads(1)
    facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    shape, length = facts["shape"], int(facts["shape"]["MAX_ITEM_LIST_LENGTH"])
    model = SASRec(_Settings(shape), _Count(facts["items"]))
    model.load_state_dict(torch.load(folder / "weights.pt", weights_only=True))
    model.eval()
    order = np.array(facts["order"])
    known = order >= 0
    theirs = np.zeros(len(facts["names"]), np.int64)
    theirs[order[known]] = np.flatnonzero(known)

    def scores(history: Sequence[int], user: str) -> Array:
        latest = [place for place in theirs[list(history)].tolist() if place][-length:] or [0]
        padded = torch.tensor([latest + [0] * (length - len(latest))])
        with torch.inference_mode():
            asked = {"item_id_list": padded, "item_length": torch.tensor([len(latest)])}
            found = model.full_sort_predict(asked)[0].numpy()
        mine = np.full(len(facts["names"]), -1e6, np.float32)
        mine[order[known]] = found[known]
        return mine

    return listing(scores, facts["names"])


class _Settings(dict[str, Any]):
    """What the model reads its shape from, without the files that its own configuration asks for."""

    def __missing__(self, key: str) -> Any:
        return {"USER_ID_FIELD": "user_id", "ITEM_ID_FIELD": "item_id", "LIST_SUFFIX": "_list",
                "ITEM_LIST_LENGTH_FIELD": "item_length", "NEG_PREFIX": "neg_", "device": "cpu"}.get(key)  # fmt: skip


class _Count:
    """How many items there are."""

    def __init__(self, items: int) -> None:
        self._items = items

    def num(self, field: str) -> int:
        return self._items


SIDES = {"recbole": (learn, load)}
