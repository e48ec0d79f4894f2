"""Long texts in passages, vectors that are reused, smaller dims, old formats: by the shell."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from command_line import DOCUMENTS, Run, Write, as_jsonl, contents, stored
from stores import raw

from simsearch.encoder import Encoder
from simsearch.formats import read_beir
from simsearch.query import SearchMode
from simsearch.records import Document
from simsearch.search_index import (
    ModeChoice,
    RerankChoice,
    RetrievalTask,
    SearchIndex,
    evaluate_retrieval,
)

FORMATS = Path(__file__).parents[1] / "search_index" / "formats"
END = "my card was swallowed by the machine"
LONG = " ".join(["the bird sings on the mat"] * 12) + f" {END}"
CUT = (
    "1 of 4 texts are longer than the encoder's window and were cut (`index --long-texts passages` "
    "splits them instead)\n"
)
WARNING = (
    "simsearch: warning: this encoder does not say that it was trained for dim 8 (Matryoshka); "
    "expect to lose quality, measure it with `simsearch evaluate retrieval -i`\n"
)


@pytest.fixture
def corpus(write: Write) -> Path:
    """Return a file with DOCUMENTS and one of 79 words, more than the window holds."""
    return write("corpus.jsonl", as_jsonl([*DOCUMENTS, Document("long", LONG)]))


@pytest.fixture
def in_passages(run: Run, corpus: Path, tmp_path: Path, tiny_encoder_dir: Path) -> Path:
    """Return an index of the corpus in passages."""
    target = tmp_path / "passages"
    arguments = ["index", corpus, "-i", target, "--encoder", tiny_encoder_dir]
    assert run(*arguments, "--long-texts", "passages").code == 0
    return target


def test_a_long_text_is_cut_unless_passages_are_asked_for(
    run: Run, corpus: Path, tmp_path: Path, tiny_encoder_dir: Path
) -> None:
    arguments = ["index", corpus, "-i", tmp_path / "new", "--encoder", tiny_encoder_dir]
    cut = run(*arguments, "--json")
    assert (cut.object["documents"], cut.object["passages"]) == (4, 4)
    assert cut.err.startswith(CUT)
    assert cut.object["truncated"] == 1
    split = run(*arguments, "--long-texts", "passages", "--replace", "--json")
    ranges = Encoder.load(tiny_encoder_dir).split_documents([Document("long", LONG)])[0]
    assert len(ranges) > 2
    assert split.object["passages"] == 3 + len(ranges)
    assert (split.object["encoded"], split.object["reused"]) == (len(ranges), 3)
    assert split.err == ""  # nothing was cut
    info = run("info", tmp_path / "new", "--json").object
    assert (info["long_texts"], info["passages"], info["documents"]) == (
        "passages",
        3 + len(ranges),
        4,
    )


def test_the_passage_that_matched_is_printed(run: Run, in_passages: Path) -> None:
    found = run("query", END, "-i", in_passages, "-k", 4, "--json").object["hits"]
    by_id = {hit["id"]: hit for hit in found}
    assert by_id.keys() == {"card", "parcel", "cat", "long"}
    start, stop = by_id["long"]["passage"]
    assert stop == len(LONG)
    assert start > 0
    assert by_id["long"]["text"] == LONG
    assert "passage" not in by_id["card"]
    lines = run("query", END, "-i", in_passages, "-k", 4).out.splitlines()
    printed = {lines[n].split()[-1]: lines[n + 1].strip() for n in range(0, len(lines), 2)}
    assert printed["long"] == LONG[start:stop]
    assert printed["card"] == END


def test_adding_follows_the_setting_of_the_index(
    run: Run, write: Write, in_passages: Path, index_dir: Path
) -> None:
    more = write("more.jsonl", as_jsonl([Document("more", f"{LONG} again")]))
    assert run("add", more, "-i", in_passages, "--json").object["passages"] > 2
    assert run("add", more, "-i", index_dir, "--json").object["passages"] == 1


def test_an_unknown_way_with_long_texts_is_refused(run: Run, corpus: Path, tmp_path: Path) -> None:
    outcome = run("index", corpus, "-i", tmp_path / "new", "--long-texts", "split")
    assert "'split' is not one of 'truncate', 'passages'" in outcome.refusal(2)


def test_what_is_in_the_index_is_not_encoded_again(run: Run, write: Write, index_dir: Path) -> None:
    changed = [Document(each.id, each.text, each.title, {"new": "yes"}) for each in DOCUMENTS]
    path = write("changed.jsonl", as_jsonl([*changed, Document("new", "a red bird")]))
    outcome = run("upsert", path, "-i", index_dir)
    assert outcome.out == (
        f"upserted into {index_dir}: 1 added, 3 replaced, 0 unchanged; 4 documents\n"
        "1 text encoded, 3 vectors reused\n"
    )
    assert stored(index_dir)["cat"].metadata == {"new": "yes"}


def test_a_replaced_index_lends_its_vectors(
    run: Run, corpus: Path, index_dir: Path, tiny_encoder_dir: Path
) -> None:
    arguments = ["index", corpus, "-i", index_dir, "--encoder", tiny_encoder_dir, "--replace"]
    facts = run(*arguments, "--json").object
    assert (facts["added"], facts["encoded"], facts["reused"]) == (4, 1, 3)


def test_a_replaced_index_says_what_was_measured_on_the_one_before(
    run: Run, corpus: Path, index_dir: Path, tiny_encoder_dir: Path
) -> None:
    arguments = ["index", corpus, "-i", index_dir, "--encoder", tiny_encoder_dir, "--replace"]
    assert "not known" not in run(*arguments).err
    with SearchIndex.open(index_dir) as index:
        index.keep_mode_choice(ModeChoice(SearchMode.LEXICAL, queries=60))
        index.keep_rerank_choice(RerankChoice(queries=60))
    warned = run(*arguments, "--quiet").err
    assert "which mode is best is not known any more" in warned
    assert "whether reranking helps is not known any more" in warned


def test_an_index_that_is_damaged_is_replaced_with_a_warning(
    run: Run, corpus: Path, index_dir: Path, tiny_encoder_dir: Path
) -> None:
    (index_dir / "meta.db").write_bytes(b"damaged")
    arguments = ["index", corpus, "-i", index_dir, "--encoder", tiny_encoder_dir, "--replace"]
    outcome = run(*arguments, "--json")
    assert (outcome.code, outcome.object["encoded"]) == (0, 4)
    assert "warning: no vector of the index that is being replaced is reused: " in outcome.err


def test_an_index_of_a_smaller_dim_keeps_the_first_components(
    run: Run, corpus: Path, tmp_path: Path, tiny_encoder_dir: Path
) -> None:
    target = tmp_path / "small"
    arguments = ["index", corpus, "-i", target, "--encoder", tiny_encoder_dir, "--quiet"]
    outcome = run(*arguments, "--dim", 8)
    assert (outcome.code, outcome.err) == (0, WARNING)
    assert run("info", target, "--json").object["dim"] == 8
    encoder = Encoder.load(tiny_encoder_dir)
    document, query = encoder.encode([DOCUMENTS[2].content, "cat"])[:, :8]
    cosine = document @ query / np.linalg.norm(document) / np.linalg.norm(query)
    hits = run("query", "cat", "-i", target, "--json").object["hits"]
    assert {hit["id"]: hit["score"] for hit in hits}["cat"] == pytest.approx(cosine, abs=1e-5)


def test_the_whole_dim_is_no_loss_to_warn_of(
    run: Run, corpus: Path, tmp_path: Path, tiny_encoder_dir: Path
) -> None:
    arguments = ["index", corpus, "-i", tmp_path / "i", "--encoder", tiny_encoder_dir, "--quiet"]
    assert run(*arguments, "--dim", 32).err == ""


def test_a_dim_that_the_encoder_was_trained_for_is_no_loss_to_warn_of(
    run: Run,
    corpus: Path,
    tmp_path: Path,
    tiny_encoder_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Encoder, "trained_dims", (8, 16))
    arguments = ["index", corpus, "-i", tmp_path / "i", "--encoder", tiny_encoder_dir, "--quiet"]
    assert run(*arguments, "--dim", 8).err == ""


@pytest.mark.parametrize("dim", [0, 1, 33])
def test_a_dim_outside_its_range_is_refused(
    run: Run, corpus: Path, tmp_path: Path, tiny_encoder_dir: Path, dim: int
) -> None:
    message = f"dim must be 2..32, the encoder's, got {dim}"
    target = tmp_path / "new"
    for arguments in (["index", corpus, "-i", target], ["encode", "a text"]):
        outcome = run(*arguments, "--encoder", tiny_encoder_dir, "--dim", dim)
        assert outcome.refusal(2) == message
    assert not target.exists()


def test_ready_vectors_have_the_dim_of_the_index(
    run: Run, corpus: Path, tmp_path: Path, tiny_encoder_dir: Path
) -> None:
    texts, full, small = (tmp_path / name for name in ("texts.txt", "full.npy", "small.npy"))
    texts.write_text("\n".join([*(each.content for each in DOCUMENTS), LONG]))
    encode = ["encode", "--texts", texts, "--encoder", tiny_encoder_dir, "--quiet"]
    run(*encode, "-o", full)
    facts = run(*encode, "-o", small, "--dim", 8, "--json").object
    assert facts["dim"] == 8
    cut = np.load(full)[:, :8]
    expected = cut / np.linalg.norm(cut, axis=1, keepdims=True)
    np.testing.assert_allclose(np.load(small), expected, atol=1e-6)
    arguments = ["index", corpus, "-i", tmp_path / "i", "--encoder", tiny_encoder_dir, "--quiet"]
    refused = run(*arguments, "--dim", 8, "--embeddings", full)
    assert (refused.code, refused.err) == (
        3,
        f"{WARNING}simsearch: error: {full}: expected dim 8, got 32\n",
    )
    done = run(*arguments, "--dim", 8, "--embeddings", small, "--json").object
    assert (done["passages"], done["encoded"], done["reused"]) == (4, 0, 0)


def test_an_encoder_is_scored_at_a_smaller_dim(
    run: Run, write: Write, tmp_path: Path, tiny_encoder_dir: Path
) -> None:
    write("set/corpus.jsonl", as_jsonl(DOCUMENTS).replace('"id"', '"_id"'))
    write("set/queries.jsonl", '{"_id":"q","text":"parcel"}')
    write("set/qrels/test.tsv", "query-id\tcorpus-id\tscore\nq\tparcel\t1\n")
    arguments = ["evaluate", "retrieval", tmp_path / "set", "--encoder", tiny_encoder_dir]
    metrics = run(*arguments, "--dim", 8, "--json").object["metrics"]
    beir = read_beir(tmp_path / "set", "test")
    task = RetrievalTask(beir.queries, beir.corpus, beir.qrels)
    encoder = Encoder.load(tiny_encoder_dir)
    assert metrics == pytest.approx(evaluate_retrieval(encoder, task, dim=8).means())
    refused = run(*arguments[:3], "-i", tmp_path / "i", "--dim", 8)
    message = "an index has its own dim and vectors: no --dim or --precision with it"
    assert refused.refusal(2) == message


@pytest.fixture
def old_index(tmp_path: Path) -> Path:
    """Return a copy of an index that the code of format 1 wrote."""
    return shutil.copytree(FORMATS / "v1", tmp_path / "indexes" / "old")


def test_an_old_index_names_the_command_that_upgrades_it(run: Run, old_index: Path) -> None:
    assert run("info", old_index).refusal(8) == (
        f"{old_index} has format 1, this simsearch reads format 5 "
        f"(run `simsearch upgrade {old_index}`, which keeps a backup)"
    )


def test_an_old_index_is_upgraded(run: Run, old_index: Path) -> None:
    outcome = run("upgrade", old_index)
    backup = old_index.with_name("old.format-1")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == f"upgraded {old_index}; the old index is kept as {backup}\n"
    assert run("info", old_index, "--json").object["documents"] == 12
    again = run("upgrade", old_index)
    assert (again.code, again.out) == (
        0,
        f"{old_index} has the present format already; nothing was changed\n",
    )
    assert run("upgrade", old_index, "--json").object == {
        "index": str(old_index),
        "backup": None,
        "segments": 0,
        "previous": None,
    }


def test_an_upgrade_tells_a_program_where_the_backup_is(run: Run, old_index: Path) -> None:
    backup = old_index.with_name("old.format-1")
    assert run("upgrade", old_index, "--json").object == {
        "index": str(old_index),
        "backup": str(backup),
        "segments": 0,
        "previous": None,
    }


@pytest.fixture
def old_generations(tmp_path: Path) -> Path:
    """Return an index of format 4 that lists a segment and keeps the generation before."""
    path = shutil.copytree(FORMATS / "v4", tmp_path / "indexes" / "old")
    shutil.copytree(FORMATS / "v4", path / "previous")
    with raw(path) as connection:
        listed = ("s", 0, 1, 5, "0" * 64, "0" * 64, "")
        connection.execute("INSERT INTO segments VALUES (?, ?, ?, ?, ?, ?, ?)", listed)
    return path


def test_an_upgrade_says_what_it_left_behind_and_what_to_do(run: Run, old_generations: Path):
    backup = old_generations.with_name("old.format-4")
    outcome = run("upgrade", old_generations)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.splitlines() == [
        f"upgraded {old_generations}; the old index is kept as {backup}",
        "its segments (1) were left behind: every search compares all vectors until they are "
        f"built anew (run `simsearch optimize {old_generations}`)",
        "the generation before was left behind: `rollback` has nothing to go back to (run "
        f"`simsearch upgrade {backup}/previous` to make an index of its own of it)",
    ]
    assert run("optimize", old_generations).code == 0
    assert run("upgrade", backup / "previous").code == 0
    assert run("info", backup / "previous", "--json").object["documents"] == 12


def test_an_upgrade_tells_a_program_what_it_left_behind(run: Run, old_generations: Path) -> None:
    backup = old_generations.with_name("old.format-4")
    assert run("upgrade", old_generations, "--json").object == {
        "index": str(old_generations),
        "backup": str(backup),
        "segments": 1,
        "previous": str(backup / "previous"),
    }


def test_an_index_of_today_is_not_changed_by_an_upgrade(run: Run, index_dir: Path) -> None:
    before = contents(index_dir)
    assert run("upgrade", index_dir).code == 0
    assert contents(index_dir) == before
    assert list(index_dir.parent.iterdir()) == [index_dir]
