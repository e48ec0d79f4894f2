"""facets: documents of each value of a metadata field."""

from __future__ import annotations

import json
from pathlib import Path

from command_line import Run, Write


def test_values_of_a_field_are_counted_under_a_filter(
    run: Run, write: Write, tmp_path: Path, tiny_encoder_dir: Path
) -> None:
    documents: list[dict[str, object]] = [
        {"id": "1", "text": "my card", "intent": "refund", "tags": ["a", "b"]},
        {"id": "2", "text": "the cat", "intent": "refund", "tags": ["a"], "sure": True},
        {"id": "3", "text": "a bird", "intent": "lost"},
        {"id": "4", "text": "a tree"},
    ]
    corpus = write("corpus.jsonl", "\n".join(map(json.dumps, documents)))
    index = tmp_path / "i"
    assert run("index", corpus, "-i", index, "--encoder", tiny_encoder_dir).code == 0
    intents, tags = run("facets", "intent", "tags", "-i", index, "--json").objects
    assert intents == {
        "field": "intent",
        "values": [{"value": "refund", "count": 2}, {"value": "lost", "count": 1}],
        "distinct": 2,
        "documents": 4,
        "missing": 1,
    }
    assert tags["values"] == [{"value": "a", "count": 2}, {"value": "b", "count": 1}]
    where = ("--where", "intent = 'refund'", "-k", "1")
    shown = run("facets", "tags", "sure", "-i", index, *where)
    assert shown.out == "tags  documents\na             2\nsure  documents\ntrue          1\n"
    assert "2 documents, 0 without tags; 1 more values (-k)" in shown.err
    message = run("facets", "intnt", "-i", index).refusal(2)
    assert message.endswith("no document has the field 'intnt' (did you mean intent?)")
