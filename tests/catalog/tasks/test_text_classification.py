"""Text classification: encodings against hand-made ones, surveys, explanations."""

import json
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sartor import registry
from sartor.catalog.tasks.parts import text_encodings as encodings
from sartor.catalog.tasks.parts import text_survey as surveys
from sartor.errors import DataError, SartorError, Unsupported
from sartor.types import DataCard, Pipeline, SplitCard

TASK = registry.get("tasks", "text-classification")
TEXTS = ["good hotel", "good room, good bed", "bad hotel", "bad bed and a bad smell"] * 3
TRUTHS = np.array([1, 1, 0, 0] * 3)
PIPELINE = Pipeline("text-classification", ("bad", "good"), (16,), "m", "r", "fp32", 1, 1)


def recalled(encoding, texts=TEXTS, truths=TRUTHS):
    return TASK.recall(encoding, TASK.learn(encoding, (16,), iter(texts), truths))


# -------------------------------------------------------------------------------------------------- encodings


def test_words_are_numbered_by_frequency_and_unknown_ones_are_one():
    encode = recalled("words-5")  # three words beside nothing and unknown: bad, good, bed
    assert encode("bad good bed room", (6,)).tolist() == [2, 3, 4, 1, 0, 0]
    assert encode("good " * 9, (4,)).tolist() == [3] * 4
    assert encode("HOTEL", (2,)).dtype == np.int32


def test_characters_of_any_script():
    encode = recalled("chars-100", ["好的", "好x"], np.array([0, 1]))
    assert encode("好的吗", (4,)).tolist() == [2, 4 if encode("x", (1,))[0] == 3 else 3, 1, 0]


def test_terms_are_chosen_by_what_they_tell():
    learnt = json.loads(zlib.decompress(TASK.learn("terms-5", (16,), iter(TEXTS), TRUTHS)))
    assert set(learnt[:2]) == {"good", "bad"}  # each in all texts of one class and in none of the other
    assert "hotel" not in learnt  # as often in both
    encode = recalled("terms-5")
    assert sorted(encode("good bad", (4,)).tolist()) == [0, 0, 1, 2]
    assert encode("good good good", (3,)).tolist().count(0) == 2


def test_of_too_many_terms_the_most_telling_are_kept():
    encode = recalled("terms-100")
    everything = encode(" ".join(TEXTS), (64,))
    assert encode(" ".join(TEXTS), (3,)).tolist() == everything[:3].tolist() == [1, 2, 3]


def test_pairs_triples_and_pieces():
    assert encodings.terms(["a", "b", "c"]) == ["a", "b", "c", "a b", "b c"]
    assert encodings.terms(["好", "的", "很"])[-1] == "好 的 很"
    assert encodings.pieces("ab") == ["~<ab", "~ab>", "~<ab>"]
    assert encodings.pieces("a") == []
    assert not set(encodings.pieces("in")) & set(encodings.terms(["in", "<", ">"]))


def test_a_term_that_occurs_once_is_no_term():
    learnt = TASK.learn("terms-100", (16,), iter(["one two", "one three"]), np.array([0, 1]))
    assert json.loads(zlib.decompress(learnt)) == ["one"]


def test_hashes_are_the_same_everywhere_and_leave_nothing_out():
    encode = recalled("ngrams-4096")
    assert TASK.learn("ngrams-4096", (16,), iter(TEXTS), TRUTHS) == b""
    assert encode("Hello world", (4,)).tolist() == [1991, 2287, 1588, 749]
    ids = encode("Hello world", (64,))
    assert np.count_nonzero(ids) == 3 + len(encodings.pieces("hello")) + len(encodings.pieces("world"))
    assert 0 < ids[ids > 0].min() <= ids.max() < 4096


def test_code_points_where_nothing_is_learnt():
    assert TASK.prepare("ab好", (5,)).tolist() == [97, 98, ord("好"), 0, 0]
    assert TASK.recall("", b"")("ab好", (2,)).tolist() == [97, 98]


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=80), st.integers(1, 40))
def test_every_encoding_fills_its_shape_for_any_text(text, length):
    for encode in ENCODERS:
        ids = encode(text, (length,))
        assert ids.shape == (length,)
        assert ids.dtype == np.int32
        assert ids.min() >= 0
        assert encode(text, (length,)).tolist() == ids.tolist()


ENCODERS = [recalled(name) for name in ("words-50", "chars-50", "terms-50", "pieces-50", "ngrams-64", "")]


def test_a_strange_encoding_or_vocabulary_is_refused():
    for strange in ("words-x", "words-1", "vectors-3", "words"):
        with pytest.raises(Unsupported, match="cannot be prepared"):
            encodings.parse(strange)
    with pytest.raises(SartorError, match="damaged"):
        TASK.recall("words-10", b"nothing compressed")


# -------------------------------------------------------------------------------------------------------- data


def test_inspect_tells_what_is_odd():
    seen = TASK.inspect(b"Great <br> stay, 5 &amp; more")
    assert seen.facts == {"script": "Latin", "length": (29,)}
    assert seen.remarks == ("MARKUP",)
    assert TASK.inspect(b"!!!").remarks == ("NO_WORDS",)
    assert TASK.inspect("好\ufffd".encode()).remarks == ("CONTROL_CHARACTERS",)
    assert TASK.inspect(b"x" * 20_001).remarks == ("LONG_TEXT",)
    assert set(TASK.advice) == {"MARKUP", "NO_WORDS", "CONTROL_CHARACTERS", "LONG_TEXT"}
    assert TASK.inspect(b"Good  DAY").content == TASK.inspect(b"good day").content
    with pytest.raises(DataError, match="empty"):
        TASK.inspect(b" ")


def test_survey_measures_lengths_and_vocabularies():
    facts = TASK.survey(iter(TEXTS * 20), np.tile(TRUTHS, 20), {"scripts": {"Latin": 240}}, 0)
    assert facts["words"] == {"median": 3, "p95": 6}
    assert facts["vocabulary"]["words"]["number"] == 9
    assert facts["vocabulary"]["words"]["exponent"] == 0.0  # the second half brings nothing new
    assert facts["dropping"]["suits"]
    assert facts["problems"] == []


def test_dropping_suits_where_texts_repeat_themselves_and_not_where_one_word_decides():
    generator = np.random.default_rng(0)
    truths = generator.integers(0, 2, 600)
    filler = [f"w{number}" for number in range(50)]
    many = [["yes" if truth else "no"] * 6 + list(generator.choice(filler, 6)) for truth in truths]
    one = [["yes" if truth else "no"] + list(generator.choice(filler, 6)) for truth in truths]
    assert surveys.dropping(many, truths, 0)["suits"]
    found = surveys.dropping(one, truths, 0)
    assert found["whole"] > 0.95
    assert not found["suits"]


def test_mixed_scripts_are_a_problem_only_where_they_are_many():
    assert surveys.script_problems({"Latin": 97, "Han": 3}) == []
    (problem,) = surveys.script_problems({"Latin": 60, "Han": 40})
    assert problem.code == "MIXED_SCRIPTS"
    assert "Latin 60%, Han 40%" in problem.sentence


def card(samples=100, **facts):
    return DataCard("text-classification", "f", ("a", "b"), {"train": SplitCard(samples, {}, "t")}, (), facts)


@pytest.mark.parametrize(
    ("words", "sizes"), [(3, ((8,),)), (42, ((48,), (24,))), (400, ((400,), (200,))), (9000, ((512,), (256,)))]
)
def test_lengths_follow_the_data(words, sizes):
    assert TASK.input_sizes(card(words={"median": 1, "p95": words})) == sizes


def test_words_are_dropped_only_where_the_data_says_so():
    assert TASK.augmentations(card()) == ()
    assert TASK.augmentations(card(dropping={"suits": True})) == ("drop",)
    assert TASK.augmentations(card(50_000, dropping={"suits": True})) == ()


def test_noise_is_text_that_fills_the_input():
    first, second = TASK.noise(2, (64,), 0)
    assert len(first.decode().split()) == 64
    assert first != second
    assert TASK.noise(2, (64,), 0) == [first, second]


# ------------------------------------------------------------------------------------------------- explanations


def asking(weights):
    """Stands for a shipped file: each word speaks for the second class with its weight."""

    def ask(raws):
        found = []
        for raw in raws:
            logit = sum(weight for word, weight in weights.items() if word in raw.decode())
            positive = 1 / (1 + np.exp(-logit))
            found.append([1 - positive, positive])
        return np.array(found, np.float32)

    return ask


def test_words_that_decide_are_named_with_their_places():
    text = "The room was dirty, but the breakfast was superb."
    found = TASK.explain(asking({"superb": 4.0, "dirty": -1.5}), text.encode(), PIPELINE)
    assert found.kind == "words"
    assert [cause.name for cause in found.causes[:2]] == ["superb", "dirty"]
    assert found.causes[0].weight > 0 > found.causes[1].weight
    start, end = map(int, found.causes[0].place)
    assert text[start:end] == "superb"
    assert found.sentence.startswith("good rests on “superb”")


def test_characters_that_decide_together_are_one_cause():
    found = TASK.explain(asking({"服": 2.0, "务": 2.0}), "酒店的服务很好".encode(), PIPELINE)
    assert (found.causes[0].name, found.causes[0].place) == ("服务", (3.0, 5.0))


def test_long_texts_are_searched_by_phrases_first():
    asked = []
    text = " ".join(f"word{number}" for number in range(1000)).replace("word777", "superb")

    def ask(raws):
        asked.extend(raws)
        return asking({"superb": 3.0})(raws)

    found = TASK.explain(ask, text.encode(), PIPELINE)
    assert found.causes[0].name == "superb"
    assert len(asked) <= 2 + 2 * 64


def test_words_that_decide_only_together_are_named_together():
    found = TASK.explain(asking({"superb": 9.0, "lovely": 9.0}), b"a superb and lovely place", PIPELINE)
    assert "without “superb”, “lovely” together" in found.sentence
    assert "falls from 1.00 by 0.50" in found.sentence


def test_an_answer_that_rests_on_nothing_says_so():
    found = TASK.explain(asking({}), b"hi", PIPELINE)
    assert "no single word decides" in found.sentence


def test_a_sample_is_shown_as_text():
    shown = TASK.show(("好" * 500).encode(), 1, np.array([0.25, 0.75], np.float32), PIPELINE)
    assert (shown.truth, shown.answer, shown.confidence) == ("good", "good", 0.75)
    assert len(shown.text) == 402


# ------------------------------------------------------------------------------------------------------ tensors


def test_shipped_module_gives_probabilities():
    torch = pytest.importorskip("torch")
    module = torch.nn.Sequential(torch.nn.Embedding(9, 3), torch.nn.Flatten(), torch.nn.Linear(12, 2))
    found = TASK.wrap(module, {})(torch.ones(2, 4, dtype=torch.int32))
    assert found.shape == (2, 2)
    assert torch.allclose(found.sum(1), torch.ones(2))


def augmented(name):
    torch = pytest.importorskip("torch")
    batch = torch.arange(1, 64 * 50 + 1, dtype=torch.int32).view(64, 50)
    batch[:, 40:] = 0
    targets = torch.arange(64)
    found, same = TASK.augment(batch, targets, (name,), torch.Generator().manual_seed(0))
    again, _ = TASK.augment(batch, targets, (name,), torch.Generator().manual_seed(0))
    assert torch.equal(found, again)
    assert same is targets
    assert found.dtype == torch.int32
    assert (found[:, 40:] == 0).all()
    return batch[:, :40], found[:, :40]


def test_drop_leaves_gaps_but_never_nothing():
    torch = pytest.importorskip("torch")
    before, after = augmented("drop")
    gone = after == 0
    assert 0.05 < gone.float().mean() < 0.15
    assert torch.equal(after[~gone], before[~gone])
    single = torch.tensor([[5, 0]] * 200, dtype=torch.int32)
    kept, _ = TASK.augment(single, torch.zeros(200), ("drop",), torch.Generator().manual_seed(0))
    assert torch.equal(kept, single)


def test_swap_moves_ids_by_one_place_and_loses_none():
    before, after = augmented("swap")
    assert (after != before).any()
    assert (after.sort(1).values == before).all()
    assert (after - before).abs().max() == 1


def test_noise_takes_ids_of_other_texts_at_the_same_place():
    before, after = augmented("noise")
    changed = after != before
    assert 0.05 < changed.float().mean() < 0.15
    assert ((after - before)[changed] % 50 == 0).all()


# -------------------------------------------------------------------------------------------------------- report


def test_words_of_each_answer_are_those_that_the_others_lack():
    texts = ["free prize, call now", "see you at home", "免费领取大奖。", "我在家等你。"] * 10
    outputs = np.array([[0, 1], [1, 0], [0, 1], [1, 0]] * 10, np.float32)
    (table,) = TASK.look([text.encode() for text in texts], outputs, ("ham", "spam", "never"))
    rows = dict(table.rows)
    assert set(rows) == {"ham", "spam"}
    assert {"free", "prize", "call", "now", "免费领"} & set(rows["spam"].split(" · "))
    assert not set(rows["spam"].split(" · ")) & set(rows["ham"].split(" · "))
    assert not any(sign in "".join(rows.values()) for sign in ",。")
    assert TASK.look([b"same words"] * 9, np.array([[0, 1], [1, 0], [0, 1]] * 3), ("a", "b")) == ()
