"""Reading is scored as the official scripts of SQuAD and CMRC define it."""

from __future__ import annotations

import json
import random
import re
import string

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenon.evaluate import reading
from tenon.evaluate.reading import COMBINE

ENGLISH = (
    "the The a an Theatre anthem red, red Red. barn barn's barn; U.S. 1,000 -- . ' café 3.5 over"
)
CHINESE = "中国北京大学的，。、“”《》·（）…a"
MIXED = ["iPhone 4", "1,000", "3.5%", "don't", "U.S.", "B-52", " ", "(NASA)", "x, y", "Deng's"]


def score(name, golds, answers, script):
    sums_1K = np.asarray(reading.terms(golds, answers, script).sum(axis=0)).reshape(1, -1)
    return float(COMBINE[name](sums_1K, len(golds))[0])


def scores(golds, answers, script):
    return tuple(score(name, golds, answers, script) for name in ("exact", "f1"))


# The definitions, one step at a time and with none of the source's shortcuts.


def plain_words(text):
    kept = [sign for sign in text.lower() if sign not in set(string.punctuation)]
    return re.sub(r"\b(a|an|the)\b", " ", "".join(kept)).split()


def squad_f1(gold, answer, *, both_empty):
    gold, answer = plain_words(gold), plain_words(answer)
    if not gold or not answer:
        return float(both_empty and gold == answer)
    rest, shared = list(answer), 0
    for word in gold:
        if word in rest:
            rest.remove(word)
            shared += 1
    if not shared:
        return 0.0
    precision, recall = shared / len(answer), shared / len(gold)
    return 2 * precision * recall / (precision + recall)


def squad(golds, answer, version):
    if version == 2:
        golds = [gold for gold in golds if plain_words(gold)] or [""]
    exact = max(float(plain_words(gold) == plain_words(answer)) for gold in golds)
    return exact, max(squad_f1(gold, answer, both_empty=version == 2) for gold in golds)


DROPPED = "-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』"


def cmrc_words(text, tokenize):
    words, run = [], ""
    for sign in [*text.lower().strip(), None]:
        if sign is not None and sign in DROPPED:
            continue
        if sign is None or "\u4e00" <= sign <= "\u9fa5":
            words += tokenize(run) if run else []
            run = ""
            words += [sign] if sign else []
        else:
            run += sign
    return words


def common_run(first, second):
    stretches = {
        tuple(second[i:j]) for i in range(len(second)) for j in range(i + 1, len(second) + 1)
    }
    return max(
        (
            j - i
            for i in range(len(first))
            for j in range(i + 1, len(first) + 1)
            if tuple(first[i:j]) in stretches
        ),
        default=0,
    )


def cmrc(golds, answer, tokenize):
    def bare(text):
        return [sign for sign in text.lower().strip() if sign not in DROPPED]

    best = 0.0
    for gold in golds:
        wanted, found = cmrc_words(gold, tokenize), cmrc_words(answer, tokenize)
        shared = common_run(wanted, found)
        if shared:
            precision, recall = shared / len(found), shared / len(wanted)
            best = max(best, 2 * precision * recall / (precision + recall))
    return float(any(bare(gold) == bare(answer) for gold in golds)), best


def phrase(generator, words, most, joint):
    return joint.join(generator.choices(words, k=generator.randint(0, most)))


def drawn(seed, words, joint, *, fewest):
    """1,000 rows of golds and answers; answers are often a gold or a part of one."""
    generator = random.Random(seed)
    golds, answers = [], []
    for _ in range(1_000):
        count = generator.randint(fewest, 3)
        right = [phrase(generator, words, 5, joint) for _ in range(count)]
        answer = phrase(generator, words, 4, joint)
        if right and generator.random() < 0.5:
            answer = generator.choice(right)[: generator.choice([None, 7])]
        golds.append(right)
        answers.append(answer)
    return golds, answers


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("seed", [0, 1])
def test_squad_is_the_official_definition(seed, version):
    golds, answers = drawn(seed, ENGLISH.split(), " ", fewest=2 - version)
    script = "squad_1.1" if version == 1 else "squad_2.0"
    expected = [squad(right, answer, version) for right, answer in zip(golds, answers, strict=True)]
    terms_RK = reading.terms(golds, answers, script).toarray()
    np.testing.assert_allclose(terms_RK[:, :2], expected, atol=1e-12)
    assert scores(golds, answers, script) == pytest.approx(tuple(np.mean(expected, axis=0)))
    has_R = np.array([bool(right) for right in golds])
    split = np.mean(np.array(expected)[has_R], axis=0)
    assert score("has_answer_exact", golds, answers, script) == pytest.approx(split[0])
    assert score("has_answer_f1", golds, answers, script) == pytest.approx(split[1])
    if version == 2:
        for column in range(2):
            without = np.array(expected)[~has_R, column].mean()
            assert score("no_answer", golds, answers, script) == pytest.approx(without)


@pytest.mark.parametrize("seed", [0, 1])
def test_cmrc_is_the_official_definition(seed):
    tokenize = pytest.importorskip("nltk.tokenize").NLTKWordTokenizer().tokenize
    golds, answers = drawn(seed, [*CHINESE, *MIXED], "", fewest=1)
    expected = [cmrc(right, answer, tokenize) for right, answer in zip(golds, answers, strict=True)]
    terms_RK = reading.terms(golds, answers, "cmrc_2018").toarray()
    np.testing.assert_allclose(terms_RK[:, :2], expected, atol=1e-12)


@pytest.mark.public_data
def test_words_among_chinese_are_parted_as_nltk_parts_them(shared):
    tokenize = pytest.importorskip("nltk.tokenize").NLTKWordTokenizer().tokenize
    content = json.loads((shared / "data/cmrc2018/cmrc2018_dev.json").read_text("utf-8"))
    paragraphs = [part for article in content["data"] for part in article["paragraphs"]]
    texts = {part["context"] for part in paragraphs}
    texts |= {
        answer["text"]
        for part in paragraphs
        for question in part["qas"]
        for answer in question["answers"]
    }
    assert len(texts) > 4_000
    other = 0
    for text in texts:
        expected = ['"' if word in ("``", "''") else word for word in cmrc_words(text, tokenize)]
        other += list(reading.segments(text)) != expected
    assert other == 0


@pytest.mark.public_data
def test_a_gold_of_cmrc_is_a_perfect_answer(shared):
    content = json.loads((shared / "data/cmrc2018/cmrc2018_dev.json").read_text("utf-8"))
    golds = [
        [answer["text"] for answer in question["answers"]]
        for article in content["data"]
        for part in article["paragraphs"]
        for question in part["qas"]
    ]
    assert len(golds) > 3_000
    assert scores(golds, [right[-1] for right in golds], "cmrc_2018") == (1, 1)


texts = st.lists(st.sampled_from(ENGLISH.split()), max_size=6).map(" ".join)
rows = st.lists(st.tuples(st.lists(texts, min_size=1, max_size=3), texts), min_size=1, max_size=5)


@given(rows=rows, script=st.sampled_from(sorted(reading.SCRIPTS)))
def test_scores_are_shares_and_golds_have_no_order(rows, script):
    golds, answers = zip(*rows, strict=True)
    exact, f1 = scores(golds, answers, script)
    assert 0 <= exact <= 1
    assert 0 <= f1 <= 1
    assert scores([right[::-1] for right in golds], answers, script) == (exact, f1)
    if script == "squad_2.0":
        assert exact <= f1 + 1e-12


@given(
    first=st.lists(st.integers(0, 2), max_size=9), second=st.lists(st.integers(0, 2), max_size=9)
)
def test_the_longest_run_is_the_longest_common_stretch(first, second):
    assert reading.longest_run(first, second) == common_run(first, second)


@given(rows=rows, seed=st.integers(0, 9))
def test_samples_are_scored_as_the_rows_they_hold(rows, seed):
    golds, answers = (list(side) for side in zip(*rows, strict=True))
    golds[0] = []
    taken = np.random.default_rng(seed).integers(0, len(rows), len(rows))
    count_1R = np.bincount(taken, minlength=len(rows))[None]
    sums_1K = np.asarray(count_1R @ reading.terms(golds, answers, "squad_2.0"))
    chosen = [golds[row] for row in taken], [answers[row] for row in taken]
    for name, combine in COMBINE.items():
        expected = score(name, *chosen, "squad_2.0")
        assert combine(sums_1K, len(rows))[0] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("script", "golds", "answer", "exact", "f1"),
    [
        ("squad_1.1", ["The Theatre"], "theatre!", 1, 1),
        ("squad_1.1", ["the"], "", 1, 0),
        ("squad_2.0", ["the"], "", 1, 1),
        ("squad_2.0", ["the", "red barn"], "barn", 0, 2 / 3),
        ("squad_2.0", [], "", 1, 1),
        ("squad_2.0", [], "barn", 0, 0),
        ("squad_2.0", ["barn"], "", 0, 0),
        ("cmrc_2018", ["北京大学"], "北京，大学。", 1, 1),
        ("cmrc_2018", ["北京大学"], "在北京", 0, 4 / 7),
        ("cmrc_2018", ["iPhone 4手机"], "iphone 4", 0, 4 / 6),
        ("cmrc_2018", ["，"], "", 1, 0),
        ("cmrc_2018", [], "", 1, 1),
        ("cmrc_2018", [], "京", 0, 0),
    ],
)
def test_single_rows(script, golds, answer, exact, f1):
    assert scores([golds], [answer], script) == pytest.approx((exact, f1))


def test_a_split_without_rows_scores_nothing():
    assert score("has_answer_f1", [[]], ["x"], "squad_2.0") == 0
    assert score("no_answer", [["x"]], ["x"], "squad_2.0") == 0


def test_rows_that_cannot_be_scored_are_refused():
    with pytest.raises(ValueError, match="row 1 has no gold answer"):
        reading.terms([["x"], []], ["x", ""], "squad_1.1")
    with pytest.raises(ValueError, match="1 rows of gold and 2 of answers"):
        reading.terms([["x"]], ["x", ""], "squad_2.0")
