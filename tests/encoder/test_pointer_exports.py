"""Encoders that cannot be exported: an index of one points to the full model, and checks it."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from command_line import run
from conftest import write_tiny_encoder
from encoder_families import MAMBA

from simsearch.encoder import Encoder, ModelMoved, export_files
from simsearch.errors import CorruptIndex, EncoderMismatch
from simsearch.records import Document
from simsearch.search_index import SearchIndex

__all__ = ["run"]

DOCUMENTS = [
    Document("card", "my card was swallowed by the machine"),
    Document("parcel", "the parcel came late"),
    Document("cat", "the cat sat on the mat"),
]


@pytest.fixture(scope="module")
def memory_of_refusals(tmp_path_factory):
    """A cache which says of the models of seeds 11 and 12 that their exports were refused."""
    from simsearch.encoder import export

    folder = tmp_path_factory.mktemp("refused")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SIMSEARCH_CACHE", str(folder / "cache"))
        patch.setattr(export, "PARITY_COSINE", 1.1)
        for seed in (11, 12):
            Encoder.load(write_tiny_encoder(folder / f"{seed}", seed=seed))
    return folder / "cache"


@pytest.fixture
def no_exports(memory_of_refusals, tmp_path, monkeypatch):
    """Let no model of this test have an export, without trying to make one."""
    from simsearch.encoder import export

    shutil.copytree(memory_of_refusals, tmp_path / "cache")
    monkeypatch.setenv("SIMSEARCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(export, "export_encoder", None)


@pytest.fixture
def refused_exports(tmp_path, monkeypatch):
    """Let no export agree with torch, and count the attempts; the cache is this test's own."""
    from simsearch.encoder import export

    attempts = []

    def count(*arguments):
        attempts.append(arguments)
        return check(*arguments)

    check = export._check_parity
    monkeypatch.setenv("SIMSEARCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(export, "PARITY_COSINE", 1.1)
    monkeypatch.setattr(export, "_check_parity", count)
    return attempts


@pytest.fixture
def model(tmp_path):
    return write_tiny_encoder(tmp_path / "model", seed=11)


@pytest.fixture
def encoder(no_exports, model):
    return Encoder.load(model)


@pytest.fixture
def index_dir(encoder, tmp_path):
    with SearchIndex.create(tmp_path / "index", encoder=encoder) as index:
        index.add(DOCUMENTS)
    return tmp_path / "index"


def search(index_dir, query="the cat"):
    with SearchIndex.open(index_dir) as index:
        return {hit.id: hit.score for hit in index.search(query, k=3)}


def test_an_index_answers_by_the_full_model(index_dir, encoder):
    assert encoder.runtime == "torch"
    expected = encoder.encode([document.text for document in DOCUMENTS])
    scores = expected @ encoder.encode_queries(["the cat"])[0]
    found = search(index_dir)
    np.testing.assert_allclose([found[d.id] for d in DOCUMENTS], scores, atol=1e-5)
    assert Encoder.load(index_dir / "encoder").runtime == "torch"


def test_documents_are_added_by_the_full_model(index_dir):
    with SearchIndex.open(index_dir) as index:
        index.add([Document("bird", "the bird sings")])
        assert index.search("the bird sings", k=1)[0].id == "bird"


def test_the_index_holds_no_more_of_the_encoder_than_where_it_is(index_dir, encoder, model):
    (description,) = (index_dir / "encoder").iterdir()
    content = json.loads(description.read_text())
    assert (content["model"], content["fingerprint"]) == (str(model), encoder.fingerprint)


def test_the_model_is_found_from_another_folder(no_exports, model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with SearchIndex.create("index", encoder=Encoder.load("model")) as index:
        index.add(DOCUMENTS)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert search(tmp_path / "index", "my card").keys() == {"card", "parcel", "cat"}


def test_a_model_that_was_moved_is_named_and_is_no_damage(index_dir, model):
    model.rename(model.with_name("moved"))
    with pytest.raises(ModelMoved) as caught:
        search(index_dir)
    assert caught.value.exit_code == 7
    assert not isinstance(caught.value, CorruptIndex)
    assert str(caught.value) == (
        f"{model} runs only from its full model: there is no encoder directory at {model}"
    )
    model.with_name("moved").rename(model)
    assert len(search(index_dir)) == 3


def test_a_model_that_was_changed_is_named_and_not_asked(index_dir, model, tmp_path):
    other = write_tiny_encoder(tmp_path / "other", seed=12)
    shutil.copy(other / "model.safetensors", model / "model.safetensors")
    with pytest.raises(ModelMoved) as caught:
        search(index_dir)
    assert str(caught.value) == f"{model} is not the model any more that {model} was"


def test_a_model_that_was_damaged_is_named(index_dir, model):
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(ModelMoved, match=r"runs only from its full model: .*truncated"):
        search(index_dir)


def test_the_moved_model_may_be_given_by_hand(index_dir, model):
    moved = model.rename(model.with_name("moved"))
    with SearchIndex.open(index_dir, encoder=Encoder.load(moved)) as index:
        assert len(index.search("the cat", k=3)) == 3


def test_another_model_given_by_hand_is_refused(index_dir, tmp_path):
    other = Encoder.load(write_tiny_encoder(tmp_path / "other", seed=12))
    with pytest.raises(EncoderMismatch):
        SearchIndex.open(index_dir, encoder=other).search("the cat")


def test_another_model_is_not_run_before_it_is_known_to_be_another(
    index_dir, model, tmp_path, monkeypatch
):
    from simsearch.encoder import opening

    run = []
    monkeypatch.setattr(opening, "torch_runtime", run.append)
    other = write_tiny_encoder(tmp_path / "other", seed=12)
    shutil.copy(other / "model.safetensors", model / "model.safetensors")
    with pytest.raises(ModelMoved):
        search(index_dir)
    assert run == []


LONG = " ".join(["the cat sat on the mat"] * 5)


@pytest.fixture
def capped(no_exports, model, tmp_path):
    """The index of an encoder whose window of 32 is capped to 12."""
    encoder = Encoder.load(model, max_length=12)
    with SearchIndex.create(tmp_path / "capped", encoder=encoder) as index:
        index.add(DOCUMENTS)
    return tmp_path / "capped"


def test_a_capped_window_is_capped_again(capped, model):
    reopened, expected = Encoder.load(capped / "encoder"), Encoder.load(model, max_length=12)
    assert (reopened.max_length, reopened.fingerprint) == (12, expected.fingerprint)
    np.testing.assert_array_equal(reopened.encode([LONG]), expected.encode([LONG]))
    assert not np.allclose(reopened.encode([LONG]), Encoder.load(model).encode([LONG]), atol=1e-3)
    assert search(capped).keys() == {"card", "parcel", "cat"}


def test_an_index_of_the_whole_window_is_not_one_of_the_capped(index_dir, capped):
    assert Encoder.load(index_dir / "encoder").max_length == 32
    with pytest.raises(EncoderMismatch):
        SearchIndex.open(index_dir, encoder=Encoder.load(capped / "encoder")).search("the cat")


@pytest.mark.parametrize(("window", "told"), [(2, "max_length must be 3..32"), (33, "any more")])
def test_a_window_that_the_model_does_not_have_is_refused(index_dir, window, told):
    description = index_dir / "encoder" / "encoder.json"
    content = json.loads(description.read_text()) | {"max_length": window}
    description.write_text(json.dumps(content | {"fingerprint": "0" * 64}))
    with pytest.raises(ModelMoved, match=told):
        Encoder.load(index_dir / "encoder")


def test_a_pointer_that_was_changed_is_damage(index_dir, model, tmp_path):
    description = index_dir / "encoder" / "encoder.json"
    elsewhere = json.loads(description.read_text()) | {"model": str(tmp_path / "elsewhere")}
    description.write_text(json.dumps(elsewhere))
    with pytest.raises(CorruptIndex, match="encoder is missing or damaged"):
        search(index_dir)


def test_a_pointer_to_itself_ends(tmp_path, index_dir):
    export = shutil.copytree(index_dir / "encoder", tmp_path / "export")
    description = export / "encoder.json"
    circle = json.loads(description.read_text()) | {"model": str(export)}
    description.write_text(json.dumps(circle))
    with pytest.raises(ModelMoved, match=r"is not an encoder directory: config\.json is missing"):
        Encoder.load(export)


def test_the_command_line_says_that_the_model_was_moved(index_dir, model, run):
    model.rename(model.with_name("moved"))
    message = run("query", "the cat", "-i", index_dir).refusal(7)
    assert message.startswith(f"{model} runs only from its full model: ")


def test_the_command_line_says_that_the_model_was_changed(index_dir, model, run, tmp_path):
    other = write_tiny_encoder(tmp_path / "other", seed=12)
    shutil.copy(other / "model.safetensors", model / "model.safetensors")
    message = run("query", "the cat", "-i", index_dir).refusal(7)
    assert message == f"{model} is not the model any more that {model} was"


def test_that_an_export_was_refused_is_remembered(refused_exports, model, tmp_path):
    for _ in range(3):
        assert Encoder.load(model).runtime == "torch"
    with SearchIndex.create(tmp_path / "index", encoder=Encoder.load(model)) as index:
        index.add(DOCUMENTS)
    search(tmp_path / "index")
    assert len(refused_exports) == 1


def test_it_is_tried_again_for_other_weights(refused_exports, model, tmp_path):
    Encoder.load(model)
    Encoder.load(write_tiny_encoder(tmp_path / "other", seed=12))
    assert len(refused_exports) == 2


def test_an_index_says_at_once_that_it_needs_the_full_model(encoder, tmp_path, caplog):
    caplog.clear()
    with SearchIndex.create(tmp_path / "index", encoder=encoder):
        pass
    assert "queries will need the full model, and torch" in caplog.text


def test_what_was_opened_by_a_pointer_can_build_another_index(index_dir, tmp_path):
    pointed = Encoder.load(index_dir / "encoder")
    with SearchIndex.create(tmp_path / "second", encoder=pointed) as index:
        index.add(DOCUMENTS)
    assert search(tmp_path / "second").keys() == {"card", "parcel", "cat"}


def test_an_intact_export_has_no_pointer(tiny_encoder_dir, tmp_path):
    Encoder.load(tiny_encoder_dir).save_export(tmp_path / "export")
    assert export_files.read_export(tmp_path / "export").model == ""


@pytest.fixture
def mamba(tmp_path, monkeypatch):
    monkeypatch.setenv("SIMSEARCH_CACHE", str(tmp_path / "cache"))
    MAMBA(tmp_path / "mamba")
    return tmp_path / "mamba"


def test_an_index_of_a_family_whose_graph_does_not_run_answers_by_the_full_model(mamba, tmp_path):
    with SearchIndex.create(tmp_path / "index", encoder=Encoder.load(mamba)) as index:
        index.add(DOCUMENTS)
    assert search(tmp_path / "index").keys() == {"card", "parcel", "cat"}


def test_that_the_graph_of_a_family_does_not_run_is_remembered(mamba, tmp_path, monkeypatch):
    from simsearch.encoder import export

    Encoder.load(mamba)
    monkeypatch.setattr(export, "export_encoder", None)
    assert Encoder.load(mamba).runtime == "torch"
    assert len(list((tmp_path / "cache" / "encoders").glob("*.refused"))) == 1
