"""Catalogue, row 118: spans that are out of their text, or over another."""

from __future__ import annotations

import json
from pathlib import Path

from command_line import Run, Write


def test_row_118_a_span_out_of_range_or_over_another_is_named_with_its_line(
    run: Run, write: Write, tmp_path: Path, tiny_encoder_dir: Path
) -> None:
    good = '{"text": "the cat", "spans": [{"start": 4, "end": 7, "label": "A"}]}\n'
    cases = {
        "[[0, 8]]": "span 0..8 ('A') is not within the text",
        "[[-1, 2]]": "span -1..2 ('A') is not within the text",
        "[[3, 3]]": "span 3..3 ('A') is not within the text",
        "[[0, 5], [4, 7]]": "spans 0..5 ('A') and 4..7 ('A') overlap",
    }
    head = tmp_path / "head"
    trained = ["train", write("good.jsonl", good * 4), "-o", head, "--encoder", tiny_encoder_dir]
    assert run("ner", *trained, "--epochs", "1").code == 0
    for number, (ranges, message) in enumerate(cases.items()):
        spans = [{"start": a, "end": b, "label": "A"} for a, b in json.loads(ranges)]
        row = json.dumps({"text": "the cat", "spans": spans})
        data = write(f"{number}.jsonl", good + row + "\n")
        for arguments in (
            ["train", data, "-o", tmp_path / "h"],
            ["evaluate", data, "--head", head],
        ):
            said = run("ner", *arguments).refusal(3)
            assert f"{number}.jsonl:2: {message}" in said
    assert not (tmp_path / "h").exists()
