"""Passages of long texts: what they hold, where they are cut, and that each fits the window."""

from __future__ import annotations

import json
import re
from itertools import pairwise

import numpy as np
import pytest
from conftest import write_tiny_encoder
from encoder_families import PLAIN_FAMILIES, WINDOW
from growth import TIMES, assert_in_proportion
from hypothesis import example, given, settings
from hypothesis import strategies as st

from simsearch.encoder import Encoder, EncodingCounts
from simsearch.encoder.passages import split_documents, split_text
from simsearch.encoder.tokenization import TextTokenizer
from simsearch.records import Document

# WordPiece; BPE over bytes, with the space before a word in its token (GPT-2, ModernBERT, Qwen3) or
# not (RoBERTa); Unigram, likewise (DeBERTa, T5).
TOKENIZERS = ["bert", "gpt2", "roberta", "modernbert", "qwen3", "xlm-roberta", "deberta-v2", "t5"]
PIECES = [
    *("the", "card", " was", " swallowed", " by the machine", ". ", "! ", '?" ', ".", ", ", "12.5"),
    *("卡被机器吞了", "。", "怎么办？", "我的包裹还没有到", "，", "東京は日本の首都です。", "」"),
    *("🙂", "🚀", "👩‍👩‍👧‍👦", "é", "̀", "\u200b", "\ufeff", "\u200d", "\x01", "\u2028", "\xa0", "ﷺ"),
    *(" ", "\n", "\n\n", "\t", "\n    ", " " * 40, "\n" * 80, "\n- ", "\n1. "),
    *("x" * 90, "y" * 300, "if a[0] == 'b':", "return {", "}", "://example.com/a?b=c&d=e#f"),
    *("Где", "моя", "посылка", "Grüße", "שלום"),
]
TEXTS = st.one_of(
    st.lists(st.sampled_from(PIECES), min_size=1, max_size=120).map("".join),
    st.lists(st.sampled_from(PIECES), min_size=1, max_size=120).map(" ".join),
    st.lists(st.sampled_from(PIECES), min_size=1, max_size=4).map(lambda few: "".join(few) * 50),
    st.text(min_size=1, max_size=400),
).filter(lambda text: not text.isspace())
LONG = {
    "one sentence": "the card was swallowed by the machine and " * 60 + "lost.",
    "sentences": "The card was swallowed. Where is it now? Nobody knows! " * 40,
    "Chinese": "我的卡被机器吞了。我该怎么办？请帮帮我，谢谢！" * 40,
    "Chinese without a mark": "我的卡被机器吞了我该怎么办" * 60,
    "one endless word": "abcdefghij" * 300,
    "emoji": "🙂🚀🔥👩‍👩‍👧‍👦" * 80,
    "only newlines between": "\n".join(["card", "machine", "parcel"] * 150),
    "a long gap": "card" + "\n" * 3000 + "machine",
    "code": "def f(a, b):\n    if a[0] == 'b':\n        return {'x': a ** 2}\n\n" * 40,
    "marks of combining": "é́́́" * 300,
}


@pytest.fixture(scope="module", params=TOKENIZERS)
def tokenizer(request, tmp_path_factory):
    return load(request.param, tmp_path_factory.mktemp("tokenizer"))


def load(family, folder):
    PLAIN_FAMILIES[family].write.tokenizer().save_pretrained(folder)
    return TextTokenizer(folder / "tokenizer.json", max_length=WINDOW)


def ranges_of(passages):
    """Return the places in the text, without the passages of a long title."""
    return [(each.start, each.stop) for each in passages if (each.start, each.stop) != (0, 0)]


def split(tokenizer, text, *, title=None, prompt=""):
    (passages,) = split_documents(tokenizer, [Document("a", text, title=title)], prompt=prompt)
    return ranges_of(passages)


def check(tokenizer, text, *, title=None, prompt=""):
    """Check all that is said of the passages of any text."""
    (passages,) = split_documents(tokenizer, [Document("a", text, title=title)], prompt=prompt)
    ranges = ranges_of(passages)
    whole = (0, len(text))
    for start, stop in ranges:
        assert 0 <= start < stop <= len(text)
        # What cannot be encoded, or tells nothing, is no passage.
        assert ranges == [whole] or text[start:stop].strip()
    for (start, stop), (next_start, next_stop) in pairwise(ranges):
        assert start < next_start
        assert stop < next_stop
        assert text[stop:next_start].strip() == ""  # nothing is left out, but for white space
    assert text[: ranges[0][0]].strip() == text[ranges[-1][1] :].strip() == ""
    encoded = [prompt + each.content for each in passages]
    assert [row.truncated for row in tokenizer.tokenize(encoded)] == [False] * len(passages)
    for each in passages:
        part = text[each.start : each.stop]
        assert each.content.endswith(part)
        before = each.content.removesuffix(part)
        assert (title or "").startswith(before.strip()) or (each.start, each.stop) == (0, 0)
    check_title(title or "", passages)
    return ranges


def check_title(title, passages):
    """Check that all of a title that is cut stands in passages of its own, in order."""
    parts = [each.content for each in passages if (each.start, each.stop) == (0, 0)]
    if not parts:
        assert all(each.content.startswith(title) for each in passages)
        return
    seen = 0  # up to where the title was found so far
    for part in parts:
        start = next(n for n in range(seen, -1, -1) if title.startswith(part, n))
        assert start <= seen
        seen = start + len(part)
        while title[seen : seen + 1].isspace():
            seen += 1
    assert seen == len(title)


LONG_TITLES = ["lost card " * 40, "卡被机器吞了" * 9, "card" * 99]


@given(
    text=TEXTS,
    title=st.sampled_from([None, "my card", "卡 🙂", *LONG_TITLES]),
    prompt=st.sampled_from(["", "card: "]),
)
@settings(max_examples=60)
@example(text="the 🙂" * 40, title=None, prompt="")
@example(text="\n" * 4000 + "card", title=None, prompt="")
@example(text="card" + "\n" * 4000, title="my card", prompt="")
def test_passages_of_any_text_lose_nothing_and_are_not_cut_by_the_encoder(
    tokenizer, text, title, prompt
):
    check(tokenizer, text, title=title, prompt=prompt)


@pytest.mark.parametrize("kind", LONG)
def test_passages_of_a_long_text_lose_nothing_and_are_not_cut_by_the_encoder(tokenizer, kind):
    text = LONG[kind]
    assert check(tokenizer, text)[0][0] == 0
    check(tokenizer, text, title="my card", prompt="card: ")


@pytest.mark.parametrize("kind", LONG)
def test_neighbours_share_at_most_an_eighth(tokenizer, kind):
    text = LONG[kind]
    (offsets,) = tokenizer.offsets([text])
    room = WINDOW - tokenizer.special_tokens
    ranges = split(tokenizer, text)
    for (_, stop), (start, _) in pairwise(ranges):
        shared = (offsets[:, 0] >= start) & (offsets[:, 1] <= stop)
        # A character of up to four tokens is shared whole or not at all.
        assert shared.sum() <= room // 8 + 3


@given(text=st.lists(st.sampled_from(PIECES), min_size=1, max_size=12).map("".join))
@settings(max_examples=40)
def test_a_text_is_one_passage_just_when_it_fits(tokenizer, text):
    fits = len(tokenizer.offsets([text])[0]) <= WINDOW - tokenizer.special_tokens
    visible = len(text.strip())
    ranges = split(tokenizer, text)
    assert not fits or ranges == [(0, len(text))]
    assert fits or not visible or len(ranges) > 1 or text[slice(*ranges[0])].strip() == text.strip()


@pytest.mark.parametrize("kind", LONG)
def test_a_title_over_the_window_leaves_half_of_it_to_the_text(tokenizer, kind):
    title = "lost card " * 40
    ranges = check(tokenizer, LONG[kind], title=title)
    assert (ranges[0][0], ranges[-1][1]) == (0, len(LONG[kind]))
    # With half the window the text has at most some three times as many passages.
    assert len(ranges) <= 3 * len(check(tokenizer, LONG[kind])) + 1


def test_a_title_over_the_window_before_a_short_text_is_found_in_passages_of_its_own(tmp_path):
    tokenizer = load("bert", tmp_path)
    title = "the lost card " * 30
    (passages,) = split_documents(tokenizer, [Document("a", "my order", title=title)], prompt="")
    *of_title, of_text = passages
    assert {(each.start, each.stop) for each in of_title} == {(0, 0)}
    assert (of_text.start, of_text.stop) == (0, 8)
    assert of_text.content.endswith(" my order")
    assert of_text.content.startswith("the lost card the")


def test_an_encoders_passages_are_not_truncated_and_hold_every_word(tiny_encoder_dir):
    encoder = Encoder.load(tiny_encoder_dir)
    text = "the cat sat on the mat my card was swallowed by the machine " * 30
    documents = [
        Document("long", text, title="lost order"),
        Document("short", "my card"),
        Document("plain", text),
    ]
    split = encoder.split_documents(documents)
    ranges = [ranges_of(passages) for passages in split]
    assert ranges[1] == [(0, 7)]
    counts = EncodingCounts()
    passages = [each.content for its in split for each in its]
    encoder.encode_documents(passages, counts=counts)
    assert (counts.texts, counts.truncated) == (len(passages), 0)
    kept = {word for places in ranges[2:] for place in places for word in range(*place)}
    assert kept == set(range(len(text)))
    assert len(ranges[0]) > len(ranges[2])  # the title takes room in each


def test_the_prompt_takes_room_in_every_passage(tmp_path):
    model = write_tiny_encoder(tmp_path / "model")
    prompts = {"prompts": {"query": "", "document": "my card was lost: "}}
    (model / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    encoder = Encoder.load(model, runtime="torch")
    (passages,) = encoder.split_documents([Document("a", "the cat sat on the mat " * 40)])
    counts = EncodingCounts()
    encoder.encode_documents([each.content for each in passages], counts=counts)
    assert counts.truncated == 0


# By hand. Tokens are words here, or characters; the window is in tokens.
def words(text):
    return np.array([found.span() for found in re.finditer(r"\S+", text)])


def characters(text):
    return np.array([(place, place + 1) for place in range(len(text)) if not text[place].isspace()])


def parts(text, tokens, *, window, overlap=0):
    ranges = split_text(text, tokens(text), window=window, overlap=overlap)
    return [text[start:stop] for start, stop in ranges]


def test_a_passage_ends_with_the_last_sentence_that_fits():
    text = "One two three. Four five six. Seven eight nine ten eleven twelve."
    assert parts(text, words, window=8) == [
        "One two three. Four five six. ",
        "Seven eight nine ten eleven twelve.",
    ]


def test_the_next_passage_begins_with_a_sentence_before_if_it_may_share_it():
    text = "One two three. Four five six. Seven eight nine ten."
    assert parts(text, words, window=8, overlap=3) == [
        "One two three. Four five six. ",
        "Four five six. Seven eight nine ten.",
    ]
    assert parts(text, words, window=8, overlap=2) == [
        "One two three. Four five six. ",
        "Seven eight nine ten.",
    ]


@pytest.mark.parametrize(
    "first",
    [
        "One two three four five! ",
        "One two three four five? ",
        "One two three four five… ",
        'One two "three four five." ',
        "One two (three four five.) ",
        "One two “three four five!” ",
        "One two three four five\n\n",
        "One two three four five\n \t\n",
    ],
)
def test_the_end_of_a_sentence_is_known_by_its_mark_and_what_closes_behind_it(first):
    assert parts(f"{first}six seven eight nine ten", words, window=7)[0] == first


@pytest.mark.parametrize("item", ["- six", "* six", "• six", "6) six", "   - six"])
def test_an_item_of_a_list_begins_a_sentence(item):
    text = f"One two three four five\n{item} seven eight nine ten"
    assert parts(text, words, window=8)[0] == "One two three four five\n"


@pytest.mark.parametrize("text", ["3.14 and 2.72 and 1.41", "v1.2.3 of a b c", "e.g.this and x y"])
def test_a_point_within_a_word_ends_no_sentence(text):
    assert "".join(parts(text, characters, window=8)) == text
    assert all(part[-1] == " " for part in parts(text, characters, window=8)[:-1])


def test_a_chinese_passage_ends_with_its_sentence_though_no_space_follows():
    text = "我的卡被机器吞了。我该怎么办？请帮我。谢谢你们的帮助"
    assert parts(text, characters, window=16) == [
        "我的卡被机器吞了。我该怎么办？",
        "请帮我。谢谢你们的帮助",
    ]
    assert parts(text, characters, window=20) == [
        "我的卡被机器吞了。我该怎么办？请帮我。",
        "谢谢你们的帮助",
    ]


def test_what_closes_a_chinese_quotation_stays_with_its_sentence():
    text = "他说：「我的卡没有了。」我不知道该怎么办"
    assert parts(text, characters, window=14)[0] == "他说：「我的卡没有了。」"


def test_a_sentence_that_would_leave_a_passage_half_empty_is_not_where_it_ends():
    text = "One. Two three four five six seven eight nine ten eleven twelve."
    assert parts(text, words, window=8) == [
        "One. Two three four five six seven eight ",
        "nine ten eleven twelve.",
    ]


def test_without_a_sentence_the_cut_is_between_words_and_some_are_shared():
    text = "a b c d e f g h i j k l"
    assert parts(text, words, window=8, overlap=1) == ["a b c d e f g h ", "h i j k l"]


def test_without_a_word_the_cut_is_between_tokens():
    assert parts("我的卡被机器吞了怎么办", characters, window=4) == [
        "我的卡被",
        "机器吞了",
        "怎么办",
    ]


def test_without_room_for_more_each_token_is_a_passage():
    assert parts("abc", characters, window=1) == ["a", "b", "c"]


def test_the_space_before_a_word_may_belong_to_its_token():
    """As in GPT-2: the token after a sentence begins before the end of the sentence."""
    text = "One two three. Four five six. Seven eight nine ten."
    tokens = [found.span() for found in re.finditer(r"\s*\S+", text)]
    ranges = split_text(text, np.array(tokens), window=8, overlap=1)
    passages = [text[start:stop].strip() for start, stop in ranges]
    assert passages == ["One two three. Four five six.", "Seven eight nine ten."]
    ranges = split_text(text, np.array(tokens), window=8, overlap=3)
    passages = [text[start:stop].strip() for start, stop in ranges]
    assert passages == ["One two three. Four five six.", "Four five six. Seven eight nine ten."]


def test_a_character_of_several_tokens_is_not_cut():
    text = "🙂🚀🔥"
    tokens = np.array([(place, place + 1) for place in range(3) for _ in range(4)])
    assert [text[slice(*place)] for place in split_text(text, tokens, window=5, overlap=0)] == [
        "🙂",
        "🚀",
        "🔥",
    ]
    assert split_text(text, tokens, window=2, overlap=0) == [(0, 1), (1, 2), (2, 3)]
    after_a_word = np.concatenate([[(0, 1)], tokens + 2])
    assert split_text("a 🙂🚀🔥", after_a_word, window=2, overlap=0) == [
        (0, 2),
        (2, 3),
        (3, 4),
        (4, 5),
    ]


def test_a_token_across_a_cut_counts_with_all_of_its_character():
    """ALBERT makes six tokens of each ﷺ here, and one more of the end and beginning of two."""
    text = "abcdﷺﷺefgh"
    blessing = [*[(4, 5)] * 6, (4, 6), *[(5, 6)] * 6]
    letters = [(place, place + 1) for place in (0, 1, 2, 3, 6, 7, 8, 9)]
    tokens = np.array([*letters[:4], *blessing, *letters[4:]])
    assert split_text(text, tokens, window=13, overlap=0) == [(0, 5), (4, 6), (6, 10)]


def test_characters_without_a_token_are_in_a_passage():
    """Some tokenizers drop control characters."""
    text = "a b c d \x01e f g h"
    tokens = np.array([found.span() for found in re.finditer(r"[a-z]", text)])
    assert split_text(text, tokens, window=4, overlap=0) == [(0, 8), (8, 16)]


def test_what_fits_just_is_one_passage():
    assert parts("a b c d", words, window=4) == ["a b c d"]
    assert parts("", words, window=4) == [""]
    assert parts(" \n", words, window=4) == [" \n"]


@pytest.mark.parametrize(
    ("family", "kind"),
    [
        ("bert", "sentences"),
        ("gpt2", "one endless word"),
        ("gpt2", "a long gap"),
        ("xlm-roberta", "Chinese without a mark"),
    ],
)
def test_a_long_text_is_split_in_linear_time(family, kind, tmp_path):
    tokenizer = load(family, tmp_path)

    def of_length(length):
        return (LONG[kind] * (length // len(LONG[kind]) + 1))[:length]

    def split_whole(text):
        assert split(tokenizer, text)[-1][1] <= len(text)

    assert_in_proportion(split_whole, of_length(4_000), of_length(TIMES * 4_000))


@pytest.mark.slow
@pytest.mark.parametrize("kind", LONG)
def test_the_default_encoders_passages_are_not_truncated(kind):
    encoder = Encoder.load()
    text = LONG[kind] * 4
    for title in (None, "The lost card"):
        (passages,) = encoder.split_documents([Document("a", text, title=title)])
        ranges = ranges_of(passages)
        counts = EncodingCounts()
        encoder.encode_documents([each.content for each in passages], counts=counts)
        assert counts.truncated == 0
        assert (ranges[0][0], ranges[-1][1]) == (0, len(text))
        for (start, stop), (next_start, next_stop) in pairwise(ranges):
            assert start < next_start <= stop < next_stop
