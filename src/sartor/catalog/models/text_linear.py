"""A linear classifier on which terms a text holds: fitted in seconds, answers in microseconds, hard to beat."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from sartor.catalog.contracts import Variant
from sartor.catalog.models.parts import linear_texts, scaling, text_sizes
from sartor.jobs import Recipe
from sartor.registry import register
from sartor.types import DataCard, Network, Provenance

if TYPE_CHECKING:
    from torch import Tensor, nn

_SIZES = (
    ("pieces", 5_000, "quick"),
    ("terms", 5_000, "balanced"),
    ("terms", 20_000, "quick"),
    ("pieces", 20_000, "quick"),
    ("terms", 80_000, "quick"),
    ("pieces", 80_000, "balanced"),
    ("terms", 300_000, "thorough"),
)
_MOST_TERMS = 1024  # of a text; the most telling are kept of more


@register("models", "text-linear")
class TextLinear:
    """Words, pairs of words and pieces of words, weighed by rarity and by how strongly they speak; one weight each.

    The table of weights is kept in half precision: a row is a term's weights times its importance, and the square of
    that importance, so that one lookup gives both the sum and the norm of a text.

    Source: Salton and Buckley 1988 (term weighting), Fan et al. 2008 (LIBLINEAR), Wang and Manning 2012.
    """

    name: str
    tasks = frozenset({"text-classification"})
    provenance = Provenance("own", "Apache-2.0", "ACL P12-2018")
    fitting = "closed-form"
    baseline = False

    def variants(self, card: DataCard, sizes: Sequence[tuple[int, ...]], effort: str) -> Iterator[Variant]:
        """Vocabularies of terms, and of terms with pieces, as large as the data has them."""
        rank = scaling.EFFORTS.index(effort)
        seen: set[tuple[str, int]] = set()
        for kind, size, least in _SIZES:
            most = max(16, int(text_sizes.expected(card, kind) * text_sizes.ENOUGH_SHARE))
            entry = (kind, min(size, most))
            if scaling.EFFORTS.index(least) > rank or entry in seen:
                continue
            seen.add(entry)
            length = text_sizes.length(card, kind, _MOST_TERMS)
            name = f"{kind}-{text_sizes.short(size)}"
            yield Variant(name, {"terms": entry[1]}, (length,), f"{kind}-{entry[1]}")

    def build(self, network: Network) -> nn.Module:
        """Ids (n, length) to logits (n, outputs)."""
        import torch
        from torch import nn
        from torch.nn.functional import embedding

        terms, outputs = int(network.options["terms"]), network.outputs
        columns = 1 if outputs == 2 else outputs

        class Linear(nn.Module):
            table: Tensor  # (terms, columns + 1) float16: weights times importance, importance squared
            bias: Tensor  # (columns,)

            def __init__(self) -> None:
                super().__init__()
                table = torch.randn(terms, columns + 1) * 0.1
                table[:, columns] = table[:, columns].square()
                table[0] = 0
                self.register_buffer("table", table.half())
                self.register_buffer("bias", torch.zeros(columns))

            def forward(self, ids: Tensor) -> Tensor:
                sums = embedding(ids, self.table).float().sum(1)  # (n, columns + 1)
                logits = sums[:, :columns] / (sums[:, columns:] + 1e-6).sqrt() + self.bias
                return torch.cat([torch.zeros_like(logits), logits], 1) if columns < outputs else logits

        return Linear()

    def recipe(self, network: Network, samples: int, epochs: float) -> Recipe:
        """Computed from all samples at once."""
        return Recipe(1.0, 512, "closed-form", 0.0, 0.0)

    def fit(self, module: nn.Module, batches: Callable[[], Iterator[tuple[Tensor, Tensor]]]) -> None:
        """Minimise the squared hinge loss, one class against the rest."""
        import torch

        table, bias = module.get_buffer("table"), module.get_buffer("bias")
        ids, lengths, truths = [], [], []
        for batch, classes in batches():
            ids.append(batch[batch != 0].cpu())
            lengths.append((batch != 0).sum(1).cpu())
            truths.append(classes.cpu())
        starts = torch.cat([torch.zeros(1, dtype=torch.long), torch.cat(lengths).cumsum(0)[:-1]])
        count = max(2, bias.shape[0])
        texts = linear_texts.Texts(torch.cat(ids).long(), starts, torch.cat(truths).long(), len(table), count)
        found = linear_texts.fit(texts)
        weighed = found.weights * found.importance[:, None]
        table.copy_(torch.cat([weighed, found.importance[:, None].square()], 1))
        bias.copy_(found.bias)
