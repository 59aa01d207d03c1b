"""Rating prediction: how a user would rate an item, from how the user rated others."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sartor.catalog.contracts import Sighting
from sartor.catalog.tasks.parts import regression_methods
from sartor.catalog.tasks.parts.rating_histories import Question, read_question
from sartor.catalog.tasks.parts.recommendation_shares import noted
from sartor.catalog.tasks.parts.regression_scores import METRICS, number_text
from sartor.reading.rated_pairs import OPTIONS
from sartor.reading.sample import Part
from sartor.registry import register
from sartor.types import Cause, DataCard, DataSource, Example, Explanation, Pipeline

if TYPE_CHECKING:
    import torch

    from sartor.catalog.contracts import Array, Module, Pair, Tensor, Truths

LONGEST, SHORTEST = 64, 8  # latest ratings of a user that count
EXPLAINED = 20  # latest ratings that are taken away one by one


@register("tasks", "rating-prediction")
class RatingPrediction:
    """One number per user and item, in the unit of the ratings. What to recommend is another question.

    The deployed graph takes float32 (batch, 1 + 2 L): the item's number from 1, numbers of L items that the user rated,
    oldest first, and their ratings; 0 stands for nothing. It gives float32 ratings (batch, 1), within those of train.
    """

    name = "rating-prediction"
    title = "predict ratings"
    version = 1
    media = "record"
    truth = "number"
    splitting = "random"
    options = OPTIONS
    files = frozenset({"items"})
    advice: Mapping[str, str] = {}
    metrics = METRICS

    decode = staticmethod(read_question)
    margins = staticmethod(regression_methods.margins)
    score = staticmethod(regression_methods.score)
    wrong = staticmethod(regression_methods.wrong)
    difference = staticmethod(regression_methods.difference)

    def read(self, source: DataSource) -> list[Part]:
        """Tables of ratings, with the items' titles where there are any."""
        from sartor.reading.rated_pairs import read_rated_pairs

        return read_rated_pairs(source)

    def inspect(self, raw: bytes, truth: bytes | None = None) -> Sighting:
        """Each pair of user and item is a sample of its own."""
        from hashlib import sha256

        self.decode(raw)
        return Sighting(sha256(raw).hexdigest(), {})

    def alike(self, left: Any, right: Any) -> bool:
        """Never: pairs are told apart by name."""
        return False

    def survey(self, decoded: Iterator[Any], truths: Truths, facts: Mapping[str, Any], seed: int) -> Mapping[str, Any]:
        """Nothing more than the reader has seen."""
        return {}

    def learn(self, encoding: str, input_size: Sequence[int], decoded: Iterator[Any], truths: Truths) -> bytes:
        """The items by number and the ratings of train's users, so that a user's name is enough to ask with."""
        import numpy as np

        from sartor.catalog.tasks.parts.rating_histories import RatingHistories

        return RatingHistories.learnt(decoded, np.asarray(truths).tolist()).pack()

    def recall(self, encoding: str, learnt: bytes) -> Any:
        from sartor.catalog.tasks.parts.rating_histories import RatingHistories

        return RatingHistories.unpack(learnt)

    def prepare(self, decoded: Question, input_size: Sequence[int], learnt: Any = None) -> Array:
        """(1 + 2 L,) float32, see :meth:`RatingHistories.row`."""
        decoded.unknown[:] = learnt.unknown(decoded)
        row: Array = learnt.row(decoded, (input_size[0] - 1) // 2)
        return row

    def answer(self, output: Array, pipeline: Pipeline, decoded: Any = None) -> dict[str, Any]:
        """See :func:`regression_methods.answer`; what was asked with and train does not hold is told."""
        unknown = list(getattr(decoded, "unknown", ()))
        found = regression_methods.answer(output, pipeline)
        return found | {"unknown": unknown, "note": noted((), unknown)} if unknown else found

    def spell_out(self, raw: bytes, learnt: Any) -> bytes:
        """A question with the ratings that are stored of its user, where it names the user alone."""
        question = self.decode(raw)
        if question.history is not None:
            return raw
        rated = learnt.history(question.user)
        return json.dumps({"user": question.user, "item": question.item, "history": rated}).encode()

    def explain(self, ask: Callable[[Sequence[bytes]], Array], raw: bytes, pipeline: Pipeline) -> Explanation:
        """Leave one out: how far the rating moves without each of the latest ratings."""
        question = self.decode(raw)
        rated = list(question.history or ())
        latest = range(max(0, len(rated) - EXPLAINED), len(rated))
        left = [rated[:place] + rated[place + 1 :] for place in latest]
        asked = [json.dumps({"user": question.user, "item": question.item, "history": one}).encode() for one in left]
        outputs = ask([raw, *asked])
        value = float(outputs[0][0])
        if not asked:
            return Explanation("items", (), f"{number_text(value)}: there are no ratings of this user to explain it by")
        weights = [value - float(output[0]) for output in outputs[1:]]
        causes = sorted(
            (Cause(rated[place][0], weight) for place, weight in zip(latest, weights, strict=True)),
            key=lambda cause: -abs(cause.weight),
        )
        first = causes[0]
        size = f"{abs(first.weight):.2g}"
        if first.weight > 0:
            sentence = f"{number_text(value)}: the rating of {first.name} makes it {size} higher"
        else:
            sentence = f"{number_text(value)}: the rating of {first.name} makes it {size} lower"
        return Explanation("items", tuple(causes), sentence)

    def show(self, raw: bytes, truth: Any, output: Array, pipeline: Pipeline) -> Example:
        question = self.decode(raw)
        text = f"user {question.user}: {question.item}"
        return Example("", number_text(float(truth)), number_text(float(output[0])), 0.0, text=text)

    def noise(self, count: int, input_size: Sequence[int], seed: int) -> list[bytes]:
        """Questions of strangers about items that no catalogue has."""
        return [json.dumps({"user": "", "item": f"item {number}", "history": []}).encode() for number in range(count)]

    def input_sizes(self, card: DataCard) -> tuple[tuple[int, ...], ...]:
        """One: room for the most ratings of a user, a power of two from 8 to 64."""
        longest = min(LONGEST, max(SHORTEST, 1 << (int(card.facts["rated"][1]) - 1).bit_length()))
        return ((1 + 2 * longest,),)

    def example(self, input_size: Sequence[int], encoding: str = "") -> Array:
        import numpy as np

        return np.zeros(tuple(input_size), np.float32)

    def statistics(self, prepared: Array) -> Mapping[str, tuple[float, ...]]:
        return {}

    def truth_statistics(self, truths: Truths) -> Mapping[str, tuple[float, ...]]:
        """``bounds``: the lowest and the highest rating."""
        import numpy as np

        numbers = np.asarray(truths, np.float64)
        return {"bounds": (float(numbers.min()), float(numbers.max()))}

    def target(self, truth: Any, input_size: Sequence[int], labels: Sequence[str]) -> Array:
        import numpy as np

        return np.asarray(truth)

    def normalise(self, batch: Tensor, statistics: Mapping[str, Sequence[float]]) -> Tensor:
        """As it is."""
        return batch.float()

    def wrap(self, module: Module, statistics: Mapping[str, Sequence[float]]) -> Module:
        from sartor.catalog.tasks.parts.rating_tensors import ShippedRater

        return ShippedRater(module, *statistics["bounds"])

    def augmentations(self, card: DataCard) -> tuple[str, ...]:
        """None."""
        return ()

    def augment(self, batch: Tensor, targets: Tensor, names: Sequence[str], generator: torch.Generator) -> Pair:
        return batch, targets

    def loss(self, outputs: Tensor, targets: Tensor, label_smoothing: float) -> Tensor:
        """Mean squared error of (n, 1) against ratings (n,)."""
        from torch.nn.functional import mse_loss

        return mse_loss(outputs[:, 0], targets)
