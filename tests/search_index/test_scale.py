"""The commands on 20,000 real lines, with the real encoder, against exact numpy search."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest

from simsearch.cli import main

LINES = 20_000
QUERIES = ("which river flows through paris", "a small animal that eats nuts", "to run quickly")


def command(capsys, *arguments):
    """Run a command with --json; return what it printed, parsed."""
    assert main([*map(str, arguments), "--json"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.slow
@pytest.mark.data
def test_twenty_thousand_lines_are_indexed_searched_and_deleted(data_dir, tmp_path, capsys):
    texts, found = tmp_path / "texts.txt", data_dir / "large_text" / "en_common_voice.txt.gz"
    with gzip.open(found, "rt", encoding="utf-8") as lines:
        kept = [line.strip() for _, line in zip(range(LINES), lines, strict=False)]
    assert len(kept) == LINES
    texts.write_text("\n".join(kept) + "\n", encoding="utf-8")
    corpus = tmp_path / "corpus.jsonl"
    rows = (json.dumps({"id": f"line-{n}", "text": text}) for n, text in enumerate(kept))
    corpus.write_text("\n".join(rows), encoding="utf-8")
    index, vectors = tmp_path / "index", tmp_path / "vectors.npy"

    command(capsys, "encode", "--texts", texts, "-o", vectors)
    (report,) = command(capsys, "index", corpus, "-i", index, "--embeddings", vectors)
    assert report["documents"] == LINES

    embeddings = np.load(vectors)
    queries = tmp_path / "queries.npy"
    command(capsys, "encode", *QUERIES, "-o", queries)
    similarities = np.load(queries).astype(np.float64) @ embeddings.T.astype(np.float64)
    expected = -np.sort(-similarities, axis=1)[:, :50]
    answers = command(capsys, "query", *QUERIES, "-i", index, "-k", 50)
    for answer, scores, row in zip(answers, expected, similarities, strict=True):
        hits = answer["hits"]
        np.testing.assert_allclose([hit["score"] for hit in hits], scores, atol=1e-5)
        positions = [int(hit["id"].removeprefix("line-")) for hit in hits]
        np.testing.assert_allclose(row[positions], scores, atol=1e-5)
        assert [kept[position] for position in positions] == [hit["text"] for hit in hits]

    gone = [hit["id"] for answer in answers for hit in answer["hits"][:10]]
    (deleted,) = command(capsys, "delete", *gone, "-i", index)
    assert deleted["deleted"] == len(set(gone))
    # Every command opens the index anew.
    for answer in command(capsys, "query", *QUERIES, "-i", index, "-k", 1000):
        assert len(answer["hits"]) == 1000
        assert not {hit["id"] for hit in answer["hits"]} & set(gone)
    (info,) = command(capsys, "info", index)
    assert (info["documents"], info["dead_rows"]) == (LINES - len(set(gone)), len(set(gone)))
