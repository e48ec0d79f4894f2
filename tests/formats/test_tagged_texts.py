from __future__ import annotations

from pathlib import Path

import pytest

from simsearch.errors import InvalidData
from simsearch.formats import read_tagged_texts
from simsearch.formats.tagged_texts import join_tokens, spans_of_tags
from simsearch.records import Span, TaggedText

ACME = TaggedText("Acme Corp sued Bob", (Span(0, 9, "ORG"), Span(15, 18, "PER")))


@pytest.fixture
def read(tmp_path: Path):
    def read_file(name: str, content: str, **options):
        path = tmp_path / name
        path.write_text(content, encoding="utf-8")
        return read_tagged_texts(path, **options)

    return read_file


@pytest.mark.parametrize(
    "tags",
    [
        ["B-ORG", "I-ORG", "O", "B-PER"],  # IOB2
        ["I-ORG", "I-ORG", "O", "I-PER"],  # IOB1
        ["B-ORG", "E-ORG", "O", "S-PER"],  # BIOES
        ["B-ORG", "L-ORG", "O", "U-PER"],  # BILOU
    ],
)
def test_every_scheme_gives_the_same_spans(read, tags):
    words = ["Acme", "Corp", "sued", "Bob"]
    lines = "".join(f"{word}\t{tag}\n" for word, tag in zip(words, tags, strict=True))
    assert read("a.conll", lines) == [ACME]


def test_neighbours_of_one_label_are_two_spans_where_the_scheme_says_so():
    assert spans_of_tags(["B-A", "B-A"]) == [(0, 1, "A"), (1, 2, "A")]  # IOB2
    assert spans_of_tags(["I-A", "B-A", "I-A"]) == [(0, 1, "A"), (1, 3, "A")]  # IOB1
    assert spans_of_tags(["S-A", "B-A", "I-A", "E-A", "S-A"]) == [
        (0, 1, "A"),
        (1, 4, "A"),
        (4, 5, "A"),
    ]
    assert spans_of_tags(["I-A", "I-B", "O", "O"]) == [(0, 1, "A"), (1, 2, "B")]


def test_four_columns_with_spaces_and_document_marks(read):
    content = (
        "-DOCSTART- -X- -X- O\n\nAcme NNP B-NP B-ORG\nCorp NNP I-NP I-ORG\nsued VBD B-VP O\n"
        "Bob NNP B-NP B-PER\n\n\nFine JJ B-NP O\n"
    )
    assert read("a.txt", content) == [ACME, TaggedText("Fine", ())]


def test_tokens_are_joined_by_a_space_but_not_between_chinese_characters():
    text, ranges = join_tokens(["中", "国", "，", "in", "2", "年"])
    assert text == "中国， in 2 年"
    assert [text[start:end] for start, end in ranges] == ["中", "国", "，", "in", "2", "年"]


def test_spans_of_jsonl_are_sorted(read):
    row = (
        '{"text": "Acme Corp sued Bob", "spans": [{"start": 15, "end": 18, "label": "PER"}, '
        '{"start": 0, "end": 9, "label": "ORG"}]}'
    )
    assert read("a.jsonl", row) == [ACME]
    assert read("named_otherwise", row) == [ACME]


@pytest.mark.parametrize(
    ("spans", "message"),
    [
        ('[{"start": 0, "end": 99, "label": "A"}]', r"a.jsonl:1: span 0..99 \('A'\) is not within"),
        ('[{"start": -1, "end": 2, "label": "A"}]', r"span -1..2 \('A'\) is not within"),
        ('[{"start": 2, "end": 2, "label": "A"}]', r"span 2..2 \('A'\) is not within"),
        (
            '[{"start": 0, "end": 5, "label": "A"}, {"start": 4, "end": 8, "label": "B"}]',
            r"a.jsonl:1: spans 0..5 \('A'\) and 4..8 \('B'\) overlap",
        ),
        ('[{"start": 4, "end": 5, "label": "A"}]', r"span 4..5 \('A'\) is blank"),
        ('[{"start": 0, "end": 4, "label": ""}]', "'' is no label"),
        ('[{"start": 0.0, "end": 4, "label": "A"}]', "whole numbers"),
        ('[{"start": true, "end": 4, "label": "A"}]', "whole numbers"),
        ("[3]", "a span must have start and end"),
        ('"none"', "field 'spans' must be a list, got string"),
    ],
)
def test_a_span_that_cannot_be_is_named_with_its_line(read, spans, message):
    with pytest.raises(InvalidData, match=message):
        read("a.jsonl", f'{{"text": "Acme Corp sued Bob", "spans": {spans}}}')


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("Acme B-ORG x\n", r"a.conll:1: expected 2 columns \(token, tag\) or 4, got 3"),
        ("Acme O\nCorp X-ORG\n", "a.conll:2: 'X-ORG' is no tag"),
        ("Acme ORG\n", "a.conll:1: 'ORG' is no tag"),
        ("Acme\n", "a.conll:1: expected 2 columns .* got 1"),
        ("Acme NNP B-NP B-ORG\n\nCorp I-NP\n", "a.conll:3: expected 4 columns, as the file began"),
        ("Acme B-ORG\nCorp NNP I-NP O\n", "a.conll:2: expected 2 columns, as the file began"),
        ("", "a.conll is empty"),
        ("\n\n", "a.conll is empty"),
    ],
)
def test_a_line_that_is_no_conll_is_named(read, content, message):
    with pytest.raises(InvalidData, match=message):
        read("a.conll", content)


def test_texts_without_spans_column_are_refused(read):
    with pytest.raises(InvalidData, match=r"a.jsonl:1: no field 'spans'; found 'text'"):
        read("a.jsonl", '{"text": "a"}')


def test_bad_texts_are_reported_and_left_out(read):
    reasons: list[InvalidData] = []
    found = read("a.conll", "a O\n\nb\n\nc O\n", on_reject=reasons.append)
    assert [each.text for each in found] == ["a", "c"]
    assert "a.conll:3" in str(reasons[0])


def test_a_line_over_the_limit_is_refused(read):
    from simsearch.formats import ReadOptions

    with pytest.raises(InvalidData, match=r"a.conll:2: longer than 20 characters"):
        read("a.conll", f"a O\n{'b' * 30} O\n", options=ReadOptions(max_record=20))


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "texts", "spans"),
    [("ncbi_disease", 940, 960), ("crossner_politics", 651, 4209), ("resume_ner_zh", 477, 1630)],
)
def test_real_data_has_as_many_spans_as_beginnings(data_dir, name, texts, spans):
    found = read_tagged_texts(data_dir / name / "test.conll")
    assert len(found) == texts
    lines = (data_dir / name / "test.conll").read_text(encoding="utf-8").splitlines()
    beginnings = sum(line.split("\t")[-1].startswith("B-") for line in lines)
    assert sum(len(each.spans) for each in found) == beginnings == spans
