"""What each finder tells, and what it passes over."""

from __future__ import annotations

import random
import string
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenon.data.check import check
from tenon.data.example import Example, content_id
from tenon.data.finder import Seen
from tenon.data.languages import language_of
from tenon.data.ledger import LabelNames, Ledger
from tenon.data.mojibake import repaired
from tenon.data.near_duplicates import NEAR, NearDuplicates, near_pairs, shingles
from tenon.data.normal import normal
from tenon.data.secrets import is_chinese_id, luhn, masked, secrets_of
from tenon.data.settings import DataSettings
from tenon.data.simplified import simplified, table

WORDS = [
    "river", "stone", "letter", "garden", "winter", "market", "silver", "window",
    "forest", "bridge", "candle", "harvest", "mirror", "shadow", "thunder", "village",
    "orange", "pencil", "rocket", "planet", "butter", "carpet", "engine", "summer",
    "island",
]  # fmt: skip


def with_check_digit(body: str) -> str:
    return next(body + digit for digit in string.digits if luhn(body + digit))


def chinese_id(rng: random.Random) -> str:
    body = f"{rng.randrange(110000, 659000)}{rng.randrange(1950, 2010)}0{rng.randrange(1, 10)}1"
    body += f"{rng.randrange(10)}{rng.randrange(1000):03}"
    return next(body + last for last in "0123456789X" if is_chinese_id(body + last))


class TestSecrets:
    @pytest.mark.parametrize(
        ("text", "code"),
        [
            ("write to jane.doe+x@mail.example.org today", "email-addresses"),
            ("邮箱zhang.san@example.com.cn，谢谢", "email-addresses"),
            ("call +44 20 7946 0958 now", "phone-numbers"),
            ("call (415) 555-2671 now", "phone-numbers"),
            ("我的手机是13912345678，请回电", "phone-numbers"),
            ("电话 010-62345678", "phone-numbers"),
            ("card 4539 1488 0343 6467 is lost", "card-numbers"),
            ("card 4539148803436467", "card-numbers"),
            ("身份证11010519491231002X号", "chinese-id-numbers"),
            ("pay to GB82 WEST 1234 5698 7654 32", "bank-accounts"),
            ("key AKIAIOSFODNN7EXAMPLE here", "access-keys"),
            ("密钥是AKIAIOSFODNN7EXAMPLE，勿外传", "access-keys"),
            ("-----BEGIN RSA PRIVATE KEY-----", "access-keys"),
        ],
    )
    def test_one_is_told_and_never_shown(self, text, code):
        ((found, start, end),) = secrets_of(text)
        assert found == code
        assert text[start + 2 : end] not in masked(text)
        assert not list(secrets_of(masked(text)))

    @pytest.mark.parametrize(
        "text",
        [
            "4539 1488 0343 6468 fails its check",
            "the ID 110105194912310021 fails its check",
            "11010519491331002X has no birthday",
            "order 20231104-118",
            "version 1.2.3.4, 3.14159265358979",
            "from 1999 to 2004, 10,000,000 people",
            "@user at noon",
            "1234567890123456",
            "ISBN 978-3-16-148410-0",
            "2023-11-04 12:30:15",
            "a_b_c and sk-learn",
            "GB82 WEST 1234 5698 7654 33",
            "12345678901234567890123",
            "6000-600-150-1200-2000=2050",
        ],
    )
    def test_what_only_looks_like_one(self, text):
        assert not list(secrets_of(text))

    def test_checksums_hold_for_made_numbers_and_for_no_others(self):
        rng = random.Random(1)
        for _ in range(200):
            card = with_check_digit("4" + "".join(rng.choices(string.digits, k=14)))
            assert [code for code, _, _ in secrets_of(f"x {card} y")] == ["card-numbers"]
            wrong = card[:-1] + str((int(card[-1]) + rng.randrange(1, 10)) % 10)
            assert not luhn(wrong)
            number = chinese_id(rng)
            assert [code for code, _, _ in secrets_of(f"号{number}。")] == ["chinese-id-numbers"]
            place = rng.randrange(17)
            other = number[:place] + str((int(number[place]) + 1) % 10) + number[place + 1 :]
            assert not is_chinese_id(other)

    @given(st.text())
    def test_masking_leaves_other_text_as_it_is(self, text):
        if not list(secrets_of(text)):
            assert masked(text) == text

    def test_faults_quote_no_secret(self, tmp_path: Path):
        path = tmp_path / "a.jsonl"
        rows = [f'{{"text": "t {n}", "label": "{"ab"[n % 2]}"}}' for n in range(30)]
        rows.append('{"text": ["jane.doe@example.org"], "label": "a"}')
        path.write_text("\n".join(rows) + "\n")
        findings = check(DataSettings(train=str(path)), 0)
        assert findings.faults
        assert "jane.doe" not in str(findings.to_json())

    def test_names_of_labels_show_none(self, tmp_path: Path):
        path = tmp_path / "a.jsonl"
        rows = [f'{{"text": "t {n}", "label": "{"ab"[n % 2]}"}}' for n in range(30)]
        rows.append('{"text": "from whom", "label": "jane.doe@example.org"}')
        path.write_text("\n".join(rows) + "\n")
        (rare,) = check(DataSettings(train=str(path)), 0).of("rare-labels")
        assert rare.examples == ("ja… (1 row)",)


def sentence(rng: random.Random, size: int = 12) -> str:
    return " ".join(rng.choices(WORDS, k=size))


def jaccard(one: str, other: str) -> float:
    first, second = set(shingles(normal(one))), set(shingles(normal(other)))
    return len(first & second) / len(first | second)


def near_of(texts: list[str]) -> dict[int, int]:
    finder = NearDuplicates()
    ledger = Ledger("t", LabelNames())
    for number, text in enumerate(texts):
        example = Example(content_id(text), f"t:{number}", text)
        own, pair = ledger.add(example)
        finder.see(Seen("train", example, (text,), own, pair))
    return {
        int(row.rpartition(":")[2]): int(shown.rpartition(":")[2])
        for finding in finder.found({"train": ledger})
        for row, shown in zip(finding.rows, finding.examples, strict=False)
    }


class TestNearDuplicates:
    @pytest.mark.parametrize("seed", range(5))
    def test_a_typo_is_near_and_another_text_is_not(self, seed):
        rng = random.Random(seed)
        texts = [sentence(rng) for _ in range(60)]
        at = rng.randrange(10, 60)
        texts.append(texts[7][:at] + "q" + texts[7][at + 1 :])
        assert near_of(texts) == {60: 7}

    def test_the_estimate_follows_the_jaccard_index(self):
        """Rows far below the threshold are never near, those far above always are."""
        rng = random.Random(3)
        texts, expected = [], set[int]()
        for number in range(0, 400, 2):
            original = sentence(rng, 20)
            copy = list(original)
            for at in rng.sample(range(len(copy)), number // 2 % 12):
                copy[at] = rng.choice(string.ascii_lowercase)
            texts += [original, "".join(copy)]
            index = jaccard(texts[-2], texts[-1])
            if index >= NEAR + 0.15 and normal(texts[-1]) != normal(texts[-2]):
                expected.add(number + 1)
        finder, ledger = NearDuplicates(), Ledger("t", LabelNames())
        for number, text in enumerate(texts):
            example = Example(content_id(text), f"t:{number}", text)
            own, pair = ledger.add(example)
            finder.see(Seen("train", example, (text,), own, pair))
        (finding,) = finder.found({"train": ledger})
        found = {int(row.rpartition(":")[2]) for row in finding.rows}
        assert expected
        assert expected <= found
        for row in found:
            assert jaccard(texts[row], texts[row - 1]) > NEAR - 0.15

    def test_other_numbers_are_another_text(self):
        text = "please send the parcel with the number {} to my new address in the old town"
        assert not near_of([text.format(number) for number in range(40)])

    def test_another_second_text_is_another_row(self):
        finder, ledger = NearDuplicates(), Ledger("t", LabelNames())
        for number, pair in enumerate(("it rains", "it snows", "It rains.")):
            text = "what is the weather like today in the mountains" + "?" * number
            example = Example(content_id(text, pair), f"t:{number}", text + "x" * number, pair)
            own, other = ledger.add(example)
            finder.see(Seen("train", example, (text,), own, other))
        (finding,) = finder.found({"train": ledger})
        assert finding.rows == ("t:2",)

    def test_chinese(self):
        texts = [
            "今天天气很好我们一起去公园散步吧好不好呢",
            "昨天的会议讨论了明年的预算和人员安排问题",
        ]
        assert near_of([*texts, texts[0].replace("公园", "花园")]) == {2: 0}

    def test_rows_are_compared_in_every_band_once(self):
        signatures = np.arange(126 * 3, dtype=np.uint16).reshape(3, 126)
        signatures[2] = signatures[0]
        assert near_pairs(signatures, np.zeros(3, np.uint64), np.arange(3)) == {2: 0}
        assert not near_pairs(signatures, np.array([0, 0, 1], np.uint64), np.arange(3))

    def test_memory_is_some_hundred_bytes_a_row_whatever_the_texts(self):
        rng = random.Random(0)
        finder = NearDuplicates()
        rows = [
            Seen("train", Example("0" * 32, f"t:{n}", "x"), ("x",), sentence(rng, 60), "")
            for n in range(4_200)
        ]
        tracemalloc.start()
        for row in rows:
            finder.see(row)
        held = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        assert held < 400 * 4_200 + 40_000_000


class TestLanguages:
    @pytest.mark.parametrize(
        ("text", "language"),
        [
            ("The parcel was not in the box that you have sent with it.", "English"),
            ("Das Paket ist nicht angekommen und der Fahrer war auf der Straße.", "German"),
            ("Le colis est arrivé dans la boîte avec les livres que vous aimez.", "French"),
            ("El paquete no está en las cajas que usted pide para los niños.", "Spanish"),
            ("今天天气很好，我们去公园。", "simplified Chinese"),
            ("這個電腦的價錢很貴，請問還有別的嗎？", "traditional Chinese"),
            ("今日は天気がいいですね", "Japanese"),
            ("오늘 날씨가 좋아요", "Korean"),
            ("Сегодня хорошая погода", "Cyrillic"),
            ("blue bird", "Latin script"),
            ("12 + 3 = 15", ""),
        ],
    )
    def test_a_text(self, text, language):
        assert language_of(text, normal(text)) == language

    def test_the_few_are_placed_and_the_mix_is_told(self, tmp_path: Path):
        path = tmp_path / "a.csv"
        rows = [f"this is the row that has number {n},{'ab'[n % 2]}" for n in range(100)]
        rows += ["今天天气很好,a", "слово и дело,b", "pаypal is the site that you have,a"]
        path.write_text("text,label\n" + "\n".join(rows) + "\n")
        findings = check(DataSettings(train=str(path)), 0)
        foreign = findings.of("foreign-texts")
        assert {finding.rows for finding in foreign} == {(f"{path}:102",), (f"{path}:103",)}
        assert findings.of("mixed-scripts")[0].rows == (f"{path}:104",)
        assert "3 scripts" in findings.of("languages")[0].what


class TestSimplified:
    def test_no_simplified_character_is_traditional_as_well(self):
        assert not simplified() & {chr(code) for code in table()}

    def test_texts_in_both_hands_are_one(self):
        assert normal("這個電腦很貴，請問還有別的嗎？") == normal("这个电脑很贵,请问还有别的吗?")


class TestNormal:
    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("Don't!", "dont"),
            ("top-up", "top up"),
            ("你好，世界", "你好 世界"),
            ("Ｈｅｌｌｏ　ｗｏｒｌｄ", "hello, world"),
        ],
    )
    def test_same(self, one, other):
        assert normal(one) == normal(other)

    @pytest.mark.parametrize(
        ("one", "other"),
        [("-5", "5"), ("1.5", "15"), ("C#", "C"), (":)", ":("), ("5 %", "5"), ("👍", "👎")],
    )
    def test_not_the_same(self, one, other):
        assert normal(one) != normal(other)


class TestMojibake:
    @given(st.text("的一是不了人我在有他这中大来上国个到说们为子和你地出道也时年", min_size=4))
    def test_chinese_comes_back_from_each_way_of_misreading_it(self, text):
        assert repaired(text) == text
        assert repaired(text.encode("gb2312").decode("latin-1")) == text
        assert repaired(text.encode().decode("latin-1")) == text
        try:
            misread = text.encode().decode("gb18030")
        except UnicodeDecodeError:
            return
        assert repaired(misread) == text

    @pytest.mark.parametrize("text", ["café au lait", "naïve", "Ångström", "“so” – and more…"])
    def test_what_was_read_rightly_stays(self, text):
        assert repaired(text) == text

    @pytest.mark.parametrize("text", ["café au lait", "Zürich", "it’s", "2 €", "¿Qué?"])
    def test_utf8_comes_back_from_a_page_of_windows(self, text):
        assert repaired(text.encode().decode("cp1252")) == text
