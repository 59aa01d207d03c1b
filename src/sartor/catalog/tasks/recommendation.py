"""Recommendation: which items a user will like to meet next, from those they met before."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sartor.catalog.contracts import Scores, Sighting
from sartor.catalog.tasks.parts.recommendation_shares import new_shares, noted, pairs, share_of, shares
from sartor.errors import DataError
from sartor.metrics import Metric
from sartor.reading.ratings import OPTIONS
from sartor.reading.sample import Part
from sartor.registry import register
from sartor.types import Cause, DataCard, DataSource, Example, Explanation, Pipeline

if TYPE_CHECKING:
    import torch

    from sartor.catalog.contracts import Array, Module, Pair, Tensor, Truths

LONGEST, SHORT = 512, 64
"""Items of a history that the model is told; what it is not told it may recommend again."""

EXPLAINED = 20  # latest items of a history that are taken away one by one
LISTED = 10  # items in an answer


@register("tasks", "recommendation")
class Recommendation:
    """A list of items for a user, from the user's history and features. What was met counts, not how it was rated.

    The deployed graph takes item numbers from 1, oldest first, zeros before them, int32 (batch, L), and gives the best
    items that are not among them with their scores, float32 (batch, 100, 2); where there are items with features that
    train lacks, the best of these behind them. With the encoding ``features-U``, U numbers below 0 stand in front of
    the history: features of the user.
    """

    name = "recommendation"
    title = "recommend items"
    version = 3
    media = "record"
    truth = "structure"
    splitting = "random"
    options = OPTIONS
    files = frozenset({"items", "users"})
    advice: Mapping[str, str] = {}
    metrics = (
        Metric("ndcg_at_10", "", "higher", "quality", "NDCG@10", bounded=True),
        Metric("hit_rate_at_10", "", "higher", "quality", "hit rate@10", bounded=True),
        Metric("recall_at_20", "", "higher", "quality", "recall@20", bounded=True),
        Metric("mrr", "", "higher", "quality", "mean reciprocal rank", bounded=True),
        Metric("coverage", "", "higher", "quality", "catalogue coverage@10", bounded=True),
        Metric("long_tail_at_10", "", "higher", "quality", "long tail share@10", bounded=True),
        Metric("new_items_ndcg_at_10", "", "higher", "quality", "NDCG@10 among new items", bounded=True),
    )

    def read(self, source: DataSource) -> list[Part]:
        """Tables of interactions or ratings, with titles and features of items and users where there are any."""
        from sartor.reading.ratings import read_ratings

        return read_ratings(source)

    def inspect(self, raw: bytes, truth: bytes | None = None) -> Sighting:
        """Each user is a sample of its own: equal histories are no copies."""
        from hashlib import sha256

        from sartor.catalog.tasks.parts.recommendation_catalogue import read_truth

        request = self.decode(raw)
        read_truth(truth or b"")
        facts = {"length": (len(request.history or ()),)}
        return Sighting(sha256(raw + b"\n" + (truth or b"")).hexdigest(), facts, truth=truth)

    def alike(self, left: Any, right: Any) -> bool:
        """Never: users are told apart by name."""
        return False

    def survey(self, decoded: Iterator[Any], truths: Truths, facts: Mapping[str, Any], seed: int) -> Mapping[str, Any]:
        """Nothing more than the reader has seen."""
        return {"labels_are": "items"}

    def decode(self, raw: bytes) -> Any:
        from sartor.catalog.tasks.parts.recommendation_catalogue import read_request

        return read_request(raw)

    def learn(self, encoding: str, input_size: Sequence[int], decoded: Iterator[Any], truths: Truths) -> bytes:
        """The items by number and the histories of train's users, so that a user's name is enough to ask with.

        With the encoding ``features-U`` also features of items and users.
        """
        from sartor.catalog.tasks.parts.recommendation_catalogue import Catalogue

        return Catalogue.learnt(decoded, truths, input_size[0], featured=bool(encoding)).pack()

    def recall(self, encoding: str, learnt: bytes) -> Any:
        from sartor.catalog.tasks.parts.recommendation_catalogue import Catalogue

        catalogue = Catalogue.unpack(learnt)
        catalogue.room = _room(encoding)
        return catalogue

    def labels_of(self, learnt: Any) -> tuple[str, ...]:
        """Titles of the items, which the catalogue holds: a package names them once."""
        return tuple(learnt.names)

    def prepare(self, decoded: Any, input_size: Sequence[int], learnt: Any = None) -> Array:
        """(L,) int32, or (U + L,) with features, see :meth:`Catalogue.numbers`."""
        import numpy as np

        if learnt is None:
            return np.zeros(tuple(input_size), np.int32)
        numbers: Array = learnt.numbers(decoded, input_size[0])
        return numbers

    def answer(self, output: Array, pipeline: Pipeline, decoded: Any = None) -> dict[str, Any]:
        """The best items (``top_k`` in the pipeline's options, 10); what was asked with and is not known is told.

        ``new`` lists the best of the items that train lacks, where there are any; ``note`` says both. ``confidence`` is
        an item's share by softmax of the scores of all listed items: it says how far the first stands out from the rest
        of the list, not how likely it is to be liked.
        """
        count = max(1, int(pipeline.options.get("top_k", LISTED)))
        top, new = (
            [{"label": pipeline.labels[number], "confidence": share} for number, share in pairs(*found)]
            for found in (shares(output, count), new_shares(output, count))
        )
        unknown = list(getattr(decoded, "unknown", ()))
        more = ({"new": new} if new else {}) | ({"unknown": unknown} if unknown else {})
        note = noted([str(one["label"]) for one in new], unknown)
        more |= {"note": note} if note else {}
        return {**(top[0] if top else {"label": "nothing new", "confidence": 0.0}), "top": top, **more}

    def spell_out(self, raw: bytes, learnt: Any) -> bytes:
        """A request with the history that is stored of its user, where it names the user alone."""
        from sartor.catalog.tasks.parts.recommendation_catalogue import again

        request = self.decode(raw)
        return raw if request.history is not None else again(request, learnt.history(request.user))

    def explain(self, ask: Callable[[Sequence[bytes]], Array], raw: bytes, pipeline: Pipeline) -> Explanation:
        """Leave one out: how far the first recommendation's confidence falls without each of the latest items."""
        from sartor.catalog.tasks.parts.recommendation_catalogue import again

        request = self.decode(raw)
        history = request.history or []
        latest = range(max(0, len(history) - EXPLAINED), len(history))
        outputs = ask([raw, *(again(request, history[:place] + history[place + 1 :]) for place in latest)])
        numbers, found = shares(outputs[0])
        if not len(numbers):
            return Explanation("items", (), "there is nothing new to recommend")
        first, name = int(numbers[0]), pipeline.labels[int(numbers[0])]
        if not len(latest) and request.features:
            return Explanation(
                "items", (), f"{name} rests on the user's features: there is no history to explain it by"
            )
        if not len(latest):
            return Explanation("items", (), f"{name} is what is popular: there is no history to explain it by")
        weights = [float(found[0]) - share_of(output, first) for output in outputs[1:]]
        causes = sorted(
            (Cause(history[place], weight) for place, weight in zip(latest, weights, strict=True)),
            key=lambda cause: -abs(cause.weight),
        )
        speaking = [cause.name for cause in causes if cause.weight > 0][:3]
        reason = f"rests most on {', '.join(speaking)}" if speaking else "rests on no single item of the latest"
        return Explanation("items", tuple(causes), f"{name} {reason}")

    def score(self, outputs: Array, truths: Truths, labels: Sequence[str], confidence: float) -> Scores:
        from sartor.catalog.tasks.parts.recommendation_scores import recommendation_scores

        return recommendation_scores(outputs, list(truths), labels, confidence)

    def wrong(self, output: Array, truth: Any) -> Array:
        """An empty list: nothing in it is new to the user."""
        import numpy as np

        nothing = np.nan_to_num(output)
        nothing[:, 1] = -1e9
        return nothing

    def difference(self, now: Array, then: Array) -> float:
        """Largest difference of an item's share of a list; infinite for NaN.

        An item that is not listed has at most the share of the last one: equals at the end of a list may be others.
        """
        largest = 0.0
        for listed in (shares, new_shares):
            try:
                left, right = (dict(pairs(*listed(side))) for side in (now, then))
            except DataError:
                return float("inf")
            for one, other in ((left, right), (right, left)):
                last = min(other.values(), default=0.0)
                apart = (abs(share - other[item]) if item in other else share - last for item, share in one.items())
                largest = max(largest, *apart, 0.0)
        return largest

    def show(self, raw: bytes, truth: Any, output: Array, pipeline: Pipeline) -> Example:
        """The latest items of the history, what came next, and the list with hits ticked."""
        from sartor.catalog.tasks.parts.recommendation_catalogue import read_truth
        from sartor.catalog.tasks.parts.recommendation_scores import SHOWN_ITEMS, in_words, marked

        request, wanted = self.decode(raw), read_truth(truth)
        numbers, found = shares(output)
        history = request.history or []
        text = "; ".join(history[-SHOWN_ITEMS:]) if history else f"user {request.user}, no history"
        more = f"{len(history) - SHOWN_ITEMS} before; " if len(history) > SHOWN_ITEMS else ""
        listed = "; ".join(marked(numbers[:SHOWN_ITEMS], wanted, pipeline.labels))
        return Example("", in_words(wanted), listed, float(found[0]) if len(found) else 0.0, text=more + text)

    def noise(self, count: int, input_size: Sequence[int], seed: int) -> list[bytes]:
        """Histories of items that no catalogue has: they are read like others, and answered with what is popular."""
        import numpy as np

        generator = np.random.default_rng(seed)
        numbers = generator.integers(0, 1 << 31, (count, input_size[0]))
        return [json.dumps({"history": [f"item {number}" for number in row]}).encode() for row in numbers.tolist()]

    def input_sizes(self, card: DataCard) -> tuple[tuple[int, ...], ...]:
        """Room for the longest history, at most 512, a power of two; then 64 where that is less."""
        longest = int(card.facts["lengths"]["largest"][0])
        room = min(LONGEST, max(8, 1 << (longest - 1).bit_length()))
        return ((room,), (SHORT,)) if room > SHORT else ((room,),)

    def example(self, input_size: Sequence[int], encoding: str = "") -> Array:
        import numpy as np

        return np.zeros(_room(encoding) + input_size[0], np.int32)

    def truth_statistics(self, truths: Truths) -> Mapping[str, tuple[float, ...]]:
        """``warm``: how many items train holds."""
        from sartor.catalog.tasks.parts.recommendation_catalogue import read_truth

        return {"warm": (float(len({item for truth in truths for item in read_truth(truth)})),)}

    def statistics(self, prepared: Array) -> Mapping[str, tuple[float, ...]]:
        return {}

    def target(self, truth: Any, input_size: Sequence[int], labels: Sequence[str]) -> Array:
        """(2 L,) int32: everything the user did in train, like an input but twice as long; of it, the latest."""
        import numpy as np

        from sartor.catalog.tasks.parts.recommendation_catalogue import read_truth
        from sartor.catalog.tasks.parts.recommendation_scores import item_numbers

        number, room = item_numbers(labels), 2 * input_size[0]
        latest = [number[item] + 1 for item in read_truth(truth) if item in number][-room:]
        answer = np.zeros(room, np.int32)
        if latest:
            answer[-len(latest) :] = latest
        return answer

    def normalise(self, batch: Tensor, statistics: Mapping[str, Sequence[float]]) -> Tensor:
        """(n, L) or (n, U + L) int64."""
        return batch.long()

    def wrap(self, module: Module, statistics: Mapping[str, Sequence[float]]) -> Module:
        from sartor.catalog.tasks.parts.recommendation_tensors import ShippedRecommender

        return ShippedRecommender(module, int(statistics.get("warm", (0,))[0]))

    def augmentations(self, card: DataCard) -> tuple[str, ...]:
        """``window``: training looks at every part of a long history, not at its end alone."""
        return ("window",)

    def augment(self, batch: Tensor, targets: Tensor, names: Sequence[str], generator: torch.Generator) -> Pair:
        from sartor.catalog.tasks.parts.recommendation_tensors import windows

        return windows(batch, targets, names, generator), targets

    def loss(self, outputs: Any, targets: Tensor, label_smoothing: float) -> Tensor:
        """Multinomial likelihood of what the user did, under scores (n, items). Liang et al. 2018, arXiv:1802.05814."""
        import torch

        likelihoods = torch.log_softmax(outputs, dim=1)
        done = (targets > 0).to(outputs)
        picked = likelihoods.gather(1, (targets.long() - 1).clamp(min=0)) * done
        return -(picked.sum(1) / done.sum(1).clamp(min=1)).mean()


def _room(encoding: str) -> int:
    """Places for features of the user in a prepared input."""
    return int(encoding.partition("-")[2] or 0)
