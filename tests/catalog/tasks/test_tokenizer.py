"""Tokenizers of checkpoints: the ids of the tokenizers library, whatever the text, and what is refused."""

import base64
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sartor import registry
from sartor.catalog.tasks.parts.tokenizer import Tokenizer, read_tokenizer
from sartor.errors import Refused, Unsupported

TASK = registry.get("tasks", "text-classification")
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "un", "##aff", "##able", "hello", ",", "好", "的", "##s", "nave"]
CORPUS = [
    "hello world, it's 2024! don't stop",
    "你好 世界 酒店的服务很好 🎉🎉",
    "naïve café",
    "room 12345 is great 😀",
] * 20
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    content = {
        "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True,
                       "strip_accents": None, "lowercase": True},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "BertProcessing", "cls": ["[CLS]", 2], "sep": ["[SEP]", 3]},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100, "vocab": {word: number for number, word in enumerate(PIECES)}},
    }  # fmt: skip
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    return tmp_path


def recalled(folder):
    encoding = f"checkpoint:{folder}"
    return TASK.recall(encoding, TASK.learn(encoding, (16,), iter(()), np.array([])))


def test_pieces_of_words_are_the_longest_known(checkpoint):
    encode = recalled(checkpoint)
    assert encode("Unaffable, HELLO好的", (12,)).tolist() == [2, 4, 5, 6, 8, 7, 9, 10, 3, 0, 0, 0]
    assert encode("hello xyz", (8,)).tolist() == [2, 7, 1, 3, 0, 0, 0, 0]
    assert encode("hello " * 9, (4,)).tolist() == [2, 7, 7, 3]


def test_vocab_txt_gives_the_same(checkpoint):
    texts = ["Unaffable, HELLO好的", "náve xyz"]
    wanted = [recalled(checkpoint)(text, (12,)).tolist() for text in texts]
    (checkpoint / "tokenizer.json").unlink()
    (checkpoint / "vocab.txt").write_text("\n".join(PIECES) + "\n")
    assert [recalled(checkpoint)(text, (12,)).tolist() for text in texts] == wanted
    (checkpoint / "vocab.txt").unlink()
    with pytest.raises(Refused, match="no tokenizer"):
        read_tokenizer(checkpoint)


def test_short_texts_are_filled_as_the_encoder_was_taught(checkpoint):
    (checkpoint / "config.json").write_text('{"pad_token_id": 9}')
    assert recalled(checkpoint)("hello", (5,)).tolist() == [2, 7, 3, 9, 9]
    (checkpoint / "config.json").write_text('{"eos_token_id": 3, "pad_token_id": null}')
    assert recalled(checkpoint)("hello", (4,)).tolist() == [2, 7, 3, 3]


@pytest.mark.parametrize(
    ("part", "content", "said"),
    [
        ("model", {"type": "WordLevel", "vocab": {}}, "cuts words by WordLevel"),
        ("normalizer", {"type": "Sequence", "normalizers": [{"type": "Nmt"}]}, "rewrites texts by Nmt"),
        ("pre_tokenizer", {"type": "UnicodeScripts"}, "cuts texts by UnicodeScripts"),
        (
            "pre_tokenizer",
            {"type": "Split", "pattern": {"Regex": r"\X"}, "behavior": "Isolated"},
            "cuts texts by the pattern",
        ),
        (
            "pre_tokenizer",
            {"type": "Split", "pattern": {"Regex": "(("}, "behavior": "Isolated"},
            "cuts texts by the pattern",
        ),
        ("post_processor", {"type": "Sequence", "processors": [{"type": "Cut"}]}, "ends with the step Cut"),
    ],
)
def test_steps_that_are_not_known_are_refused_by_name(checkpoint, part, content, said):
    whole = json.loads((checkpoint / "tokenizer.json").read_text())
    (checkpoint / "tokenizer.json").write_text(json.dumps({**whole, part: content}))
    with pytest.raises(Unsupported, match=f"the tokenizer of {checkpoint.name} {said}"):
        read_tokenizer(checkpoint)


def test_a_damaged_tokenizer_is_refused(checkpoint):
    (checkpoint / "tokenizer.json").write_text('{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a b"]}}')
    with pytest.raises(Refused, match="damaged tokenizer"):
        read_tokenizer(checkpoint)


# ------------------------------------------------------------------------------------------------- the referee


def compiled(pairs):
    """A map of characters as SentencePiece compiles it: a double array over the bytes of the keys."""
    units, strings, used = {0: 0}, b"", {0}
    tree = {}
    for key, value in pairs.items():
        node = tree
        for byte in key.encode():
            node = node.setdefault(byte, {})
        node[-1] = len(strings)
        strings += value.encode() + b"\0"

    def place(node, position):
        base = next(n for n in range(1, 1 << 20) if not used & {n ^ max(byte, 0) for byte in node})
        used.update(base ^ max(byte, 0) for byte in node)
        units[position] = units.get(position, 0) | (position ^ base) << 10 | (256 if -1 in node else 0)
        for byte, child in node.items():
            units[base ^ max(byte, 0)] = child | 1 << 31 if byte < 0 else byte
            if byte >= 0:
                place(child, base ^ byte)

    place(tree, 0)
    array = np.zeros((max(units) | 255) + 1, "<u4")
    array[list(units)] = list(units.values())
    return base64.b64encode((4 * len(array)).to_bytes(4, "little") + array.tobytes() + strings).decode()


CHARACTERS = {"\n": " ", "\r": " ", "\u3000": " ", "ﬁ": "fi", "Ａ": "A", "e\u0301": "é", "\u200b": "", "①": "1"}


def theirs(folder):
    """Tokenizers of the library: one of every kind of model, with the steps that checkpoints of the kind have."""
    library = pytest.importorskip("tokenizers")
    models, before, forms, behind = library.models, library.pre_tokenizers, library.normalizers, library.processors
    teach = library.trainers
    letters = before.ByteLevel.alphabet()
    marks = forms.Sequence([forms.Strip(), forms.Replace(library.Regex(" {2,}"), " "), forms.NFD(),
                            forms.StripAccents(), forms.Lowercase()])  # fmt: skip
    tail = before.Sequence([before.BertPreTokenizer(), before.Digits(individual_digits=True)])
    llama3 = before.Sequence(
        [before.Split(library.Regex(LLAMA3), "isolated"), before.ByteLevel(False, use_regex=False)]
    )
    frame = behind.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    pairs, unknown = teach.BpeTrainer, {"unk_token": "<unk>"}
    kinds = {
        "bert": (models.WordPiece(**unknown), forms.BertNormalizer(), before.BertPreTokenizer(), teach.WordPieceTrainer(
            vocab_size=200, special_tokens=SPECIAL), behind.BertProcessing(("</s>", 2), ("<s>", 0))),
        "roberta": (models.BPE(), None, before.ByteLevel(add_prefix_space=False), pairs(
            vocab_size=500, initial_alphabet=letters, special_tokens=SPECIAL),
            behind.RobertaProcessing(("</s>", 2), ("<s>", 0))),
        "llama3": (models.BPE(ignore_merges=True), forms.NFC(), llama3, pairs(
            vocab_size=500, initial_alphabet=letters, special_tokens=SPECIAL), behind.Sequence([behind.ByteLevel(),
                                                                                               frame])),
        "gemma": (models.BPE(fuse_unk=True, byte_fallback=True, **unknown), forms.Replace(" ", "▁"), None, pairs(
            vocab_size=420, special_tokens=[*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256))]), None),
        "marks": (models.BPE(fuse_unk=True, **unknown), marks, before.Metaspace(prepend_scheme="first"), pairs(
            vocab_size=200, special_tokens=SPECIAL), frame),
        "clip": (models.BPE(end_of_word_suffix="</w>", **unknown), forms.BertNormalizer(lowercase=False), tail, pairs(
            vocab_size=200, special_tokens=SPECIAL, end_of_word_suffix="</w>"), None),
        "xlm-r": (models.Unigram(), forms.NFKC(), before.Sequence([before.WhitespaceSplit(), before.Metaspace()]),
                  teach.UnigramTrainer(vocab_size=150, special_tokens=SPECIAL, **unknown), frame),
    }  # fmt: skip
    for name, (model, form, split, trainer, processor) in kinds.items():
        made = library.Tokenizer(model)
        for part, step in (("normalizer", form), ("pre_tokenizer", split), ("post_processor", processor)):
            if step is not None:
                setattr(made, part, step)
        made.train_from_iterator(CORPUS, trainer)
        if name == "llama3":
            made.add_tokens(["great", "  "])
        content = json.loads(made.to_str())
        if name == "xlm-r":
            content["normalizer"] = {"type": "Precompiled", "precompiled_charsmap": compiled(CHARACTERS)}
        (folder / name).mkdir()
        (folder / name / "tokenizer.json").write_text(json.dumps(content))
        made = library.Tokenizer.from_str(json.dumps(content))
        made.encode_special_tokens = True  # what a text says is text
        yield made, Tokenizer(json.loads(json.dumps(read_tokenizer(folder / name))))


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory):
    return list(theirs(tmp_path_factory.mktemp("tokenizers")))


WORDS = (
    *(
        "hello",
        " world",
        "it's",
        "’s",
        " ",
        "  ",
        "\n",
        "\r\n",
        "你好",
        "酒店",
        "🎉",
        "👨\u200d👩\u200d👧",
        "e\u0301",
        "12",
        "345",
    ),
    *(
        "!?",
        "<s>",
        "</s>",
        " great",
        "ﬁ",
        "Ａ",
        "\u3000",
        "\xa0",
        "Σ",
        "ÀÉ",
        "한국",
        "\u200b",
        "①",
        "½",
        "\t",
        "x" * 120,
    ),
)
LETTERS = st.characters(max_codepoint=0x5FF, exclude_categories=["Cn"]) | st.characters(
    min_codepoint=0x3041, max_codepoint=0x9FA5, exclude_categories=["Cn"]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(WORDS) | st.text(LETTERS, max_size=3), max_size=12).map("".join))
def test_agrees_with_the_library(tokenizers, text):
    for library, ours in tokenizers:
        wanted = library.encode(text).ids
        assert ours(text, (len(wanted) + 2,)).tolist() == wanted + [ours.padding] * 2
