"""Other searchers over a recorded grid, and the account that makes them pay for what they do."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from _search_world import Recording

from sartor.types import Limit

RUNG_FACTOR = 4  # of successive halving; the grid's rungs stand so far apart
TRIALS = 500  # at most
FREE = 40  # trials in a row that cost nothing, as all was done before, end a search


class Spent(Exception):
    """The budget is used up."""


@dataclass
class Account:
    """What a searcher did: each network is trained, each file made, timed and scored once; only the first time costs.

    ``held`` is the answer it would give: of all it scored and found to keep the limits, the best on validation.
    """

    recording: Recording
    limits: Sequence[Limit]
    seconds: float
    cost_first: bool
    spent: float = 0.0
    held: list[tuple[float, float]] = field(default_factory=list)  # seconds, true score
    _best: float = -1.0
    _trained: dict[str, float] = field(default_factory=dict)
    _probed: dict[str, bool] = field(default_factory=dict)
    _scored: dict[tuple[str, float], float] = field(default_factory=dict)

    def pay(self, seconds: float) -> None:
        self.spent += seconds
        if self.spent > self.seconds:
            raise Spent

    def keeps_limits(self, candidate: str) -> bool:
        """Make and time it, untrained or not; True when it keeps the limits on cost."""
        if candidate not in self._probed:
            self.pay(self.recording.making_s(candidate) + self.recording.probing_s())
            self._probed[candidate] = self.recording.keeps(candidate, self.limits)
        return self._probed[candidate]

    def train(self, candidate: str, epochs: float) -> float:
        """The score on validation after so many epochs; goes on from where the network's training stands."""
        name = self.recording.records[candidate].candidate.network.id
        before = self._trained.get(name, 0.0)
        if epochs > before:
            self.pay(self.recording.training_s(name, epochs - before))
            self._trained[name] = epochs
        return self.recording.score(candidate, epochs)

    def score(self, candidate: str, epochs: float) -> float:
        """Deploy what was trained and score it on validation."""
        if (candidate, epochs) not in self._scored:
            self.pay(self.recording.making_s(candidate) + self.recording.score_s["validation"])
            value = self.recording.score(candidate, epochs)
            self._scored[candidate, epochs] = value
            if value > self._best and self.keeps_limits(candidate):
                self._best = value
                self.held.append((self.spent, self.recording.truth(candidate, epochs)))
        return self._scored[candidate, epochs]

    def at(self, seconds: float) -> float:
        """The true score of what was held after so many seconds; 0 without an answer."""
        return next((score for when, score in reversed(self.held) if when <= seconds), 0.0)


def rungs(recording: Recording, candidate: str) -> list[float]:
    return [t["epochs"] for t in recording.plain["trained"][recording.records[candidate].candidate.network.id]]


def random_search(account: Account, seed: int) -> None:
    """Any candidate at any rung, none twice."""
    points = [(name, epochs) for name in account.recording.records for epochs in rungs(account.recording, name)]
    random.Random(seed).shuffle(points)
    for name, epochs in points:
        if account.cost_first and not account.keeps_limits(name):
            continue
        account.train(name, epochs)
        account.score(name, epochs)


def tpe(account: Account, seed: int) -> None:
    """Optuna's TPE over network, way and rung; what breaks a limit is pruned."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    networks = account.recording.networks()
    ways = sorted({name.split("/", 1)[1] for name in account.recording.records})

    def objective(trial: optuna.Trial) -> float:
        name = f"{trial.suggest_categorical('network', networks)}/{trial.suggest_categorical('way', ways)}"
        rung = trial.suggest_float("rung", 0.0, 1.0)
        if name not in account.recording.records or (account.cost_first and not account.keeps_limits(name)):
            raise optuna.TrialPruned
        there = rungs(account.recording, name)
        epochs = there[min(len(there) - 1, int(rung * len(there)))]
        account.train(name, epochs)
        value = account.score(name, epochs)
        if not account.keeps_limits(name):
            raise optuna.TrialPruned
        return value

    _study(account, optuna.samplers.TPESampler(seed=seed), optuna.pruners.NopPruner(), objective)


def asha(account: Account, seed: int) -> None:
    """Optuna's asynchronous successive halving; a rung's score is that of a training that ends there: kinder."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    names = list(account.recording.records)

    def objective(trial: optuna.Trial) -> float:
        name = trial.suggest_categorical("candidate", names)
        if account.cost_first and not account.keeps_limits(name):
            raise optuna.TrialPruned
        value = 0.0
        for step, epochs in enumerate(rungs(account.recording, name)):
            value = account.train(name, epochs)
            trial.report(value, RUNG_FACTOR**step)
            if trial.should_prune():
                account.score(name, epochs)
                raise optuna.TrialPruned
        account.score(name, rungs(account.recording, name)[-1])
        if not account.keeps_limits(name):
            raise optuna.TrialPruned
        return value

    pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=RUNG_FACTOR)
    _study(account, optuna.samplers.RandomSampler(seed=seed), pruner, objective)


def _study(account: Account, sampler: object, pruner: object, objective: Callable[..., float]) -> None:
    import optuna

    seen: list[float] = []

    def stop_when_done(study: optuna.Study, trial: object) -> None:
        seen.append(account.spent)
        if len(seen) > FREE and seen[-1] == seen[-1 - FREE]:
            study.stop()

    study = optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner)  # type: ignore[arg-type]
    study.optimize(objective, n_trials=TRIALS, callbacks=[stop_when_done])


PEERS: dict[str, tuple[Callable[[Account, int], None], bool]] = {
    "random": (random_search, False),
    "Optuna TPE": (tpe, False),
    "Optuna ASHA": (asha, False),
    "random, cost first": (random_search, True),
    "Optuna TPE, cost first": (tpe, True),
    "Optuna ASHA, cost first": (asha, True),
}
"""Name -> searcher, and whether it times a candidate before it trains it, which is our idea and not theirs."""


def search(name: str, recording: Recording, limits: Sequence[Limit], seconds: float, seed: int) -> Account:
    """Let a peer search until its time is over or the grid is."""
    run, cost_first = PEERS[name]
    account = Account(recording, limits, seconds, cost_first)
    with contextlib.suppress(Spent):
        run(account, seed)
    return account
