import json
import warnings

import numpy as np
import pytest
import torch

from sartor import registry
from sartor.catalog.models.ease import _OFFERED
from sartor.catalog.models.parts import recommending
from sartor.catalog.models.parts.recommending import conjugate_gradients
from sartor.testing import models
from sartor.types import DataCard, Network, Pipeline, SplitCard

TASK = registry.get("tasks", "recommendation")
FAMILIES = [name for name in registry.names("models") if "recommendation" in registry.get("models", name).tasks]
CLOSED = [name for name in FAMILIES if registry.get("models", name).fitting == "closed-form"]
ITEMS, LENGTH = 12, 8
CARD = DataCard(
    "recommendation", "", tuple(f"item {n}" for n in range(ITEMS)), {"train": SplitCard(40, {}, "")}, (), {}
)


def networks(family, effort="balanced"):
    variants = registry.get("models", family).variants(CARD, ((LENGTH,), (4,)), effort)
    return [Network(family, v.name, dict(v.options), v.input_size, ITEMS, v.encoding) for v in variants]


def walks(users=40, seed=0):
    """What users did, (users, 2 LENGTH): walks that go to the next item of a circle, now and then skipping one."""
    generator = np.random.default_rng(seed)
    done = np.zeros((users, 2 * LENGTH), np.int64)
    for row in done:
        steps = np.cumsum(generator.choice([1, 1, 1, 2], 7)) + generator.integers(0, ITEMS)
        row[-7:] = steps % ITEMS + 1
    return torch.from_numpy(done)


def fitted(network, done):
    family = registry.get("models", network.model)
    module = models.build(network)
    with torch.no_grad():
        family.fit(module, lambda: iter([(done[:25, LENGTH:], done[:25]), (done[25:, LENGTH:], done[25:])]))
    return module.eval()


def together(done, half_life=0.0):
    matrix = np.zeros((ITEMS, ITEMS))
    for row in done.numpy():
        places = [(place, item - 1) for place, item in enumerate(row) if item]
        for left, one in places:
            for right, other in places:
                matrix[one, other] += 0.5 ** (abs(left - right) / half_life) if half_life else 1
    return matrix


@pytest.mark.parametrize("family", FAMILIES)
def test_family(family):
    models.check_family(family)
    for network in networks(family):
        models.check_recipe(network)


@pytest.mark.parametrize("family", FAMILIES)
def test_networks_build_and_answer_each_user_alone(family):
    for network in networks(family)[:1] + networks(family)[-1:]:
        models.check_build(network, "recommendation")


@pytest.mark.parametrize(
    "family", [name if name in ("ease", "sasrec") else pytest.param(name, marks=pytest.mark.slow) for name in FAMILIES]
)
def test_smallest_network_exports_with_its_list(family):
    import onnxruntime

    network = networks(family)[0]
    done = walks()
    module = fitted(network, done) if family in CLOSED else models.build(network).eval()
    shipped, history = TASK.wrap(module, {}).eval(), done[:1, LENGTH:].int()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own use of what torch deprecates
        program = torch.onnx.export(shipped, (history,), dynamo=True, input_names=["input"], verbose=False)
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])
    with torch.no_grad():
        for row in torch.cat((done[:10, LENGTH:], torch.zeros(1, LENGTH))).int():  # and a user without a history
            found = session.run(None, {"input": row[None].numpy()})[0]
            assert TASK.difference(found[0], shipped(row[None])[0].numpy()) < 1e-3


def test_popularity_counts_and_breaks_ties_by_number():
    done = torch.tensor([[0, 3, 1, 2], [0, 0, 3, 1]])
    network = Network("most-popular", "", {}, (4,), 4)
    module = models.build(network)
    registry.get("models", "most-popular").fit(module, lambda: iter([(done, done)]))
    assert module(done)[0].argsort(descending=True).tolist() == [0, 2, 1, 3]  # 1 and 3 twice, 2 once, 4 never


@pytest.mark.parametrize("half_life", [0.0, 2.0])
def test_pairs_are_counted(half_life):
    done = walks(10)
    done = torch.stack([torch.where(torch.arange(16) < 16 - n % 8, row, 0) for n, row in enumerate(done)])
    rows = [torch.cat([row[row > 0].unique_consecutive()]) for row in done]
    found = recommending.together(lambda: iter([(done[:4], done[:4]), (done[4:], done[4:])]), ITEMS, half_life)
    if half_life:
        assert torch.allclose(found, torch.from_numpy(together(done, half_life)).float(), atol=1e-3)
    else:
        sets = torch.stack([torch.zeros(ITEMS).index_fill(0, row.unique() - 1, 1.0) for row in rows])
        assert torch.equal(found, sets.T @ sets)


def test_ease_is_the_closed_form_of_its_paper():
    done = walks()
    options = {"known": ITEMS, "neighbours": ITEMS, "recent": LENGTH}
    module = fitted(Network("ease", "x", options, (LENGTH,), ITEMS), done)
    fade = module.fade.numpy()
    possible = []
    for half_life, regularisation in _OFFERED:
        gram = together(done, half_life) if half_life else np.minimum(together(done), len(done))
        inverse = np.linalg.inv(gram + regularisation * np.eye(ITEMS))
        weights = np.clip(inverse / -np.diag(inverse), 0, None)
        np.fill_diagonal(weights, 0)
        error = 0.0
        for row in done[:5]:
            wanted = sum(fade[place] * weights[item - 1] for place, item in enumerate(row[LENGTH:].numpy()) if item)
            shares = module(row[None, LENGTH:])[0].numpy() - module.prior.numpy()
            error = max(error, float(np.abs(shares / shares.sum() - wanted / wanted.sum()).max()))
        possible.append(error)
    assert min(possible) < 3e-3


def test_few_weights_keep_the_largest():
    module = recommending.NeighbourScores(5, 4, 2, 3)
    module.keep(torch.tensor([[0, 0.1, 0.3, 0.2], [0.5, 0, 0, 0], [0, 0, 0, 1.0], [0, -2.0, 0, 0]]))
    scores = module(torch.tensor([[0, 0, 1], [0, 3, 1], [0, 0, 5], [0, 0, 0]]))
    assert scores[0].argsort(descending=True).tolist()[:2] == [2, 3]
    assert scores[1].tolist() == pytest.approx([0, 0, 0.3, 1.2, 0], abs=1e-3)
    assert scores[2].argsort(descending=True).tolist() == [0, 1, 2, 3, 4]  # not known: what is popular
    assert torch.equal(scores[2], scores[3])


def test_half_lives_are_chosen_by_whether_order_matters():
    def chosen(done):
        weigh = lambda matrix, strength: matrix.clone().fill_diagonal_(0)  # noqa: E731
        return recommending.habits(lambda: iter([(done, done)]), ITEMS, LENGTH, [(0.0, 1.0), (1.0, 1.0)], weigh)

    half_life, _, memory = chosen(walks(200))
    assert half_life == 1.0
    assert memory in (1.0, 2.0)
    generator = np.random.default_rng(0)
    tastes = [generator.permutation(np.arange(1, 7) + 6 * (n % 2)) for n in range(200)]  # order says nothing
    mixed = torch.zeros(200, 2 * LENGTH, dtype=torch.int64)
    mixed[:, -6:] = torch.from_numpy(np.stack(tastes))
    histories, wanted = recommending.held_out(lambda: iter([(mixed, mixed)]))
    assert histories.shape == (200, 2 * LENGTH - 1)
    assert torch.equal(wanted, mixed[:, -1])
    perfect = torch.zeros(200, ITEMS).scatter(1, wanted[:, None] - 1, 1.0)
    assert recommending.gain(perfect, histories, wanted) == pytest.approx(1.0)
    assert recommending.gain(perfect[:, :3], histories, wanted) < 0.5  # items beyond the scored ones are missed
    assert recommending.gain(torch.zeros(200, ITEMS), histories, wanted) < 0.4  # ties count as lost


def test_conjugate_gradients_solve():
    generator = torch.Generator().manual_seed(0)
    half = torch.randn(3, 6, 6, generator=generator)
    matrices, wanted = half @ half.transpose(1, 2) + torch.eye(6), torch.randn(3, 6, generator=generator)
    found = conjugate_gradients(lambda x: (matrices @ x[:, :, None])[:, :, 0], wanted, torch.zeros(3, 6), 12)
    assert torch.allclose(found, torch.linalg.solve(matrices, wanted), atol=1e-3)


def trained(network, done, steps):
    module = models.build(network)
    train(module, registry.get("models", network.model), done[:, -LENGTH:], done, steps)
    return module.eval()


def train(module, plugin, batch, done, steps):
    optimizer, generator = torch.optim.AdamW(module.parameters(), lr=1e-2), torch.Generator().manual_seed(0)
    for _ in range(steps):
        inputs, targets = TASK.augment(batch, done, ("window",), generator)
        plugin.loss(module.train()(inputs), targets, 0.0).backward()
        assert all(parameter.grad is not None for parameter in module.parameters())
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize("family", ["als", "bpr-mf"])
def test_factors_recommend_within_a_taste(family):
    done = torch.zeros(40, 2 * LENGTH, dtype=torch.int64)
    for number, row in enumerate(done):  # two tastes that share nothing, each user knows five items of six
        taste = [item for item in range(1 + number % 2 * 6, 7 + number % 2 * 6) if (item + number) % 6]
        row[-5:] = torch.tensor(taste)
    network = networks(family)[0]
    module = fitted(network, done) if family == "als" else trained(network, done, 60)
    lists = TASK.wrap(module, {})(done[:, LENGTH:].int())
    for number, row in enumerate(lists):
        first = int(row[0, 0]) + 1
        assert (first > 6) == bool(number % 2)
        assert first not in done[number].tolist()


@pytest.mark.parametrize("family", ["bpr-mf", "sasrec", "two-tower"])
def test_towers_look_back_only_and_skip_what_is_padding(family):
    module = models.build(networks(family)[0]).eval()
    history = walks(4)[:, -module.window :]
    changed = history.clone()
    changed[:, -1] = changed[:, -1] % ITEMS + 1
    with torch.no_grad():
        before, after = (module._users(one, module.table) for one in (history, changed))
        assert torch.allclose(before[:, :-1], after[:, :-1], atol=1e-5)
        assert not torch.allclose(before[:, -1], after[:, -1], atol=1e-3)
        nothing = module(torch.zeros(2, LENGTH, dtype=torch.int64))
    assert torch.equal(nothing[0], module.vectors.frequency[1:])


@pytest.mark.parametrize("family", ["sasrec", "two-tower"])
def test_training_learns_what_comes_next(family):
    module = trained(networks(family)[0], walks(64), 60)
    held = walks(30, seed=1)[:, LENGTH:]
    last = held[:, -1].clone()
    with torch.no_grad():
        best = module(torch.cat((held[:, :1] * 0, held[:, :-1]), 1)).topk(2).indices + 1
    assert (best == last[:, None]).any(1).float().mean() > 0.8


def featured(users=120, seed=0):
    """Users of two tastes, told by a feature of their own; items 1..10 of train and 11, 12 that train lacks."""
    from sartor.catalog.tasks.parts.recommendation_catalogue import Catalogue

    generator = np.random.default_rng(seed)
    requests, truths = [], []
    for user in range(users):
        items = [f"item {number:02d}" for number in generator.permutation(np.arange(1 + user % 2, 11, 2))[:4]]
        told = {
            "item_tokens": ["kind=odd", "kind=even"],
            "user_columns": [{"name": "likes", "kind": "names", "separator": "", "edges": []}],
            "user_tokens": ["likes=odd", "likes=even"],
        }
        tokens = {f"item {number:02d}": [1 if number % 2 else 2] for number in range(1, 13)}
        first = {"told": told, "items": tokens} if not user else {}
        asked = {"user": str(user), "history": items[:-1], "features": {"likes": ("odd", "even")[user % 2]}, **first}
        requests.append(TASK.decode(json.dumps(asked).encode()))
        truths.append(json.dumps({"items": items}).encode())
    learnt = Catalogue.unpack(Catalogue.learnt(iter(requests), truths, LENGTH, featured=True).pack())
    learnt.room = 1
    batch = torch.from_numpy(np.stack([TASK.prepare(one, (LENGTH,), learnt) for one in requests]))
    done = torch.from_numpy(np.stack([TASK.target(truth, (LENGTH,), learnt._names) for truth in truths]))
    return learnt, batch.long(), done.long()


def test_features_speak_for_new_items_and_for_users_without_history():
    learnt, batch, done = featured()
    assert learnt.warm == 10
    card = DataCard(
        "recommendation", "", CARD.labels, {"train": SplitCard(120, {}, "")}, (), {"features": [2, 1, 2, 1, 2]}
    )
    plugin = registry.get("models", "two-tower")
    variant = next(iter(plugin.variants(card, ((LENGTH,),), "quick")))
    assert variant.encoding == "features-1"
    network = Network("two-tower", "s", dict(variant.options), variant.input_size, ITEMS, variant.encoding)
    module = models.build(network)
    plugin.furnish(module, learnt)
    train(module, plugin, batch, done, 60)
    shipped = TASK.wrap(module, {"warm": (10.0,)}).eval()
    new = {"odd": "item 11", "even": "item 12"}
    pipeline = Pipeline("recommendation", tuple(learnt._names), (LENGTH,), "m", "onnxruntime", "fp32", 1, 1)
    for likes, met in (("odd", []), ("even", []), ("odd", ["item 01", "item 05"]), ("even", ["item 04", "item 02"])):
        request = TASK.decode(json.dumps({"history": met, "features": {"likes": likes}}).encode())
        with torch.no_grad():
            output = shipped(torch.from_numpy(TASK.prepare(request, (LENGTH,), learnt))[None])[0].numpy()
        answer = TASK.answer(output, pipeline, request)
        assert answer["new"][0]["label"] == new[likes]
        assert int(answer["label"].split()[1]) % 2 == (likes == "odd")
        assert set(met) & {one["label"] for one in answer["top"]} == set()
        truth = json.dumps({"items": [new[likes]], "new": [new[likes]]}).encode()
        assert TASK.score(output[None], [truth], pipeline.labels, 0.95).values["new_items_ndcg_at_10"][0] == 1


@pytest.mark.parametrize("family", ["bpr-mf", "sasrec", "two-tower"])
def test_items_that_nothing_is_known_of_come_last(family):
    learnt, _, _ = featured(20)
    module = models.build(networks(family)[0])
    registry.get("models", family).furnish(module, learnt)
    with torch.no_grad():
        module.vectors.frequency[1:].normal_()
        scores = module.eval()(torch.zeros(1, LENGTH, dtype=torch.int64))[0]
    assert (scores[10:] == scores[:10].min()).all()
