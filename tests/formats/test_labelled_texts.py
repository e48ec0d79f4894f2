from __future__ import annotations

from pathlib import Path

import pytest

from simsearch.errors import InvalidData
from simsearch.formats import read_labelled_texts
from simsearch.records import ClassifiedText


@pytest.fixture
def read(tmp_path: Path):
    def read_file(name: str, content: str, **options):
        path = tmp_path / name
        path.write_text(content, encoding="utf-8")
        return read_labelled_texts(path, **options)

    return read_file


def test_one_label_a_text_from_jsonl_and_csv(read):
    expected = [ClassifiedText("where is it", ("order",)), ClassifiedText("stolen", ("card",))]
    of_jsonl = read(
        "a.jsonl",
        '{"text": "where is it", "label": "order"}\n{"text": "stolen", "label": " card "}\n',
    )
    of_csv = read("a.csv", "label,text\norder,where is it\ncard,stolen\n")
    assert of_jsonl.texts == of_csv.texts == expected
    assert not of_jsonl.several_labels


def test_several_labels_a_text_and_none(read):
    of_jsonl = read(
        "a.jsonl",
        '{"text": "late and broken", "labels": ["late", "broken"]}\n{"text": "fine", "labels": []}',
    )
    of_csv = read("a.csv", "text,labels\nlate and broken,late; broken\nfine,\n")
    assert of_jsonl.texts == of_csv.texts
    assert of_csv.texts == [
        ClassifiedText("late and broken", ("late", "broken")),
        ClassifiedText("fine", ()),
    ]
    assert of_csv.several_labels


def test_a_whole_number_is_a_label(read):
    (first, second) = read(
        "a.jsonl", '{"text": "a", "label": 3}\n{"text": "b", "label": true}'
    ).texts
    assert (first.labels, second.labels) == (("3",), ("1",))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('{"text": "a"}', "a.jsonl:1: no field 'label'; found 'text'"),
        ('{"txt": "a", "label": "b"}', "a.jsonl:1: no field 'text'.*did you mean 'txt'"),
        ('{"text": "a", "label": "b", "labels": []}', "has both 'label' and 'labels'"),
        ('{"text": "a", "label": ""}', "a.jsonl:1: field 'label': got '', expected the name"),
        ('{"text": "a", "label": 1.5}', "got number, expected the name"),
        ('{"text": "a", "labels": "b"}', "must be a list of names, got string"),
        ('{"text": "a", "labels": ["b", "b"]}', "has 'b' twice"),
        ('{"text": "a", "labels": ["b", null]}', "got null, expected the name"),
        ('{"text": " ", "label": "b"}', "a.jsonl:1: field 'text' is empty"),
    ],
)
def test_a_row_that_is_no_labelled_text_is_refused(read, row, message):
    with pytest.raises(InvalidData, match=message):
        read("a.jsonl", row)


def test_a_file_has_one_of_the_two_columns_throughout(read):
    with pytest.raises(InvalidData, match=r"a.jsonl:2: has 'labels', but .* 'label' at .*:1"):
        read("a.jsonl", '{"text": "a", "label": "b"}\n{"text": "c", "labels": ["d"]}')


def test_bad_rows_are_reported_and_left_out(read):
    reasons: list[InvalidData] = []
    rows = '{"text": "a", "label": "b"}\n{"text": "c", "label": null}'
    found = read("a.jsonl", rows, on_reject=reasons.append)
    assert [each.text for each in found.texts] == ["a"]
    assert "a.jsonl:2" in str(reasons[0])
    with pytest.raises(InvalidData, match="no row is left"):
        read("a.jsonl", '{"text": "c", "label": null}', on_reject=reasons.append)
