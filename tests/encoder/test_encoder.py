from __future__ import annotations

import json
import shutil
import socket
import time

import numpy as np
import pytest
from conftest import WORDS, write_tiny_encoder

from simsearch.encoder import (
    Calibration,
    ChanceCount,
    Encoder,
    EncodingCounts,
    PairScorer,
    UnencodableText,
    read_model_file,
    write_model_file,
    write_pair_scorer,
)
from simsearch.encoder.export import PARITY_TEXTS, export_encoder, parity_texts
from simsearch.encoder.layout import read_layout
from simsearch.encoder.locate import locate_encoder
from simsearch.errors import (
    AlreadyExists,
    EncoderError,
    InvalidData,
    InvalidInput,
    SystemFailure,
)
from simsearch.evaluation import CalibrationCurve, CalibrationMethod

TEXTS = ["my card was swallowed", "the cat", "late " * 40, "卡", "🙂 unknown words", "a"]


@pytest.fixture(scope="module")
def encoder(tiny_encoder_dir):
    return Encoder.load(tiny_encoder_dir)


@pytest.fixture(scope="module")
def torch_encoder(tiny_encoder_dir):
    return Encoder.load(tiny_encoder_dir, runtime="torch")


def test_embeddings_are_unit_float32_in_the_order_of_the_texts(encoder):
    embeddings = encoder.encode(TEXTS)
    assert (embeddings.dtype, embeddings.shape) == (np.float32, (6, 32))
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-6)
    for position, text in enumerate(TEXTS):
        np.testing.assert_allclose(embeddings[position], encoder.encode([text])[0], atol=1e-5)


def test_a_text_has_the_same_vector_in_any_company(encoder):
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, size=rng.integers(1, 40))) for _ in range(300)]
    together = encoder.encode(texts)
    alone = np.vstack([encoder.encode([text]) for text in texts[:20]])
    np.testing.assert_allclose(together[:20], alone, atol=1e-5)
    np.testing.assert_allclose(encoder.encode(texts[::-1])[::-1], together, atol=1e-5)


def test_both_runtimes_agree(encoder, torch_encoder):
    assert (encoder.runtime, torch_encoder.runtime) == ("onnx", "torch")
    assert encoder.fingerprint == torch_encoder.fingerprint
    np.testing.assert_allclose(encoder.encode(TEXTS), torch_encoder.encode(TEXTS), atol=1e-5)


def test_the_embedding_is_what_sentence_transformers_computes(encoder, tiny_encoder_dir):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import (
        Normalize,
        Pooling,
        Transformer,
    )

    modules = [Transformer(str(tiny_encoder_dir), max_seq_length=32), Pooling(32), Normalize()]
    expected = SentenceTransformer(modules=modules, device="cpu").encode(TEXTS)
    np.testing.assert_allclose(encoder.encode(TEXTS), expected, atol=1e-5)


def test_no_texts_give_no_rows(encoder):
    assert encoder.encode([]).shape == (0, 32)


def test_the_window_is_the_models_and_not_the_tokenizer_files(encoder):
    """The tokenizer file cuts at 5 tokens and pads to 9; the encoder's window is 32."""
    counts = EncodingCounts()
    thirty = " ".join(WORDS[:30])
    vectors = encoder.encode([thirty, thirty + " extra", thirty[:-3] + " dog"], counts=counts)
    np.testing.assert_array_equal(vectors[0], vectors[1])
    assert not np.allclose(vectors[0], vectors[2])
    assert (encoder.max_length, counts.truncated) == (32, 1)


def test_a_smaller_window_is_another_encoder(encoder, tiny_encoder_dir):
    capped = Encoder.load(tiny_encoder_dir, max_length=4)
    np.testing.assert_allclose(
        capped.encode(["my card was late"]), encoder.encode(["my card"]), atol=1e-6
    )
    assert capped.fingerprint != encoder.fingerprint
    assert Encoder.load(tiny_encoder_dir, max_length=32).fingerprint == encoder.fingerprint


@pytest.mark.parametrize("max_length", [-5, 0, 1, 2, 33, 100_000])
def test_a_window_that_cannot_be_is_refused(tiny_encoder_dir, max_length):
    with pytest.raises(InvalidInput, match=r"max_length must be 3\.\.32"):
        Encoder.load(tiny_encoder_dir, max_length=max_length)


def test_one_text_is_not_taken_for_several(encoder):
    with pytest.raises(InvalidInput, match="several texts"):
        encoder.encode("hello")


def test_an_unknown_runtime_is_refused(tiny_encoder_dir):
    with pytest.raises(InvalidInput, match=r"no runtime 'tpu' \(there are: onnx, torch\)"):
        Encoder.load(tiny_encoder_dir, runtime="tpu")


def test_what_encoding_loses_is_counted(encoder):
    counts = EncodingCounts()
    encoder.encode(["cat zzz qqq", "zzz", "🙂 🚀", "the dog", "cat " * 50], counts=counts)
    assert (counts.texts, counts.truncated, counts.all_unknown) == (5, 1, 2)
    assert (counts.tokens, counts.unknown_tokens) == (3 + 1 + 2 + 2 + 30, 2 + 1 + 2)
    assert counts.unknown_share == pytest.approx(5 / 38)


@pytest.mark.parametrize(
    ("texts", "message"),
    [(["a", " "], "text 1 is empty"), ([""], "text 0 is empty"), ([None], "NoneType, expected")],
)
def test_a_text_that_is_none_is_refused(encoder, texts, message):
    with pytest.raises(InvalidData, match=message):
        encoder.encode(texts)


def test_progress_counts_up_to_all_texts(encoder):
    seen = []
    encoder.encode(["a"] * 3000, progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 3000


def test_prompts_go_before_queries_and_documents(tiny_encoder_dir, tmp_path):
    model = shutil.copytree(tiny_encoder_dir, tmp_path / "model")
    prompts = {"prompts": {"query": "find ", "document": "please "}}
    (model / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    prompted, plain = Encoder.load(model), Encoder.load(tiny_encoder_dir)
    for ours, prompt in ((prompted.encode_queries, "find "), (prompted.encode, "please ")):
        np.testing.assert_allclose(ours(["my card"]), plain.encode([prompt + "my card"]), atol=1e-6)


def test_token_vectors_average_to_the_embedding(encoder):
    texts = ["the cat sat", "my card was swallowed by the machine"]
    for tokens, embedding in zip(encoder.encode_tokens(texts), encoder.encode(texts), strict=True):
        mean = tokens.vectors.mean(axis=0)
        np.testing.assert_allclose(mean / np.linalg.norm(mean), embedding, atol=1e-5)


def test_token_offsets_point_into_the_text(encoder):
    (tokens,) = encoder.encode_tokens(["My card, late"])
    words = ["My card, late"[start:end] for start, end in tokens.offsets]
    assert words == ["", "My", "card", ",", "late", ""]  # first and last are special tokens


def test_the_last_hidden_state_is_the_token_vectors(encoder):
    texts = ["a cat", "my card was late"]
    for layers, tokens in zip(
        encoder.hidden_states(texts), encoder.encode_tokens(texts), strict=True
    ):
        assert layers.shape == (3, len(tokens.offsets), 32)  # embeddings and two layers
        np.testing.assert_allclose(layers[-1], tokens.vectors, atol=1e-6)


def spoil(monkeypatch, encoder, *, rows, value):
    """Make the runtime give `value` for the rows of a batch that `rows` selects."""
    original = encoder._exact.runtime.run

    def run(batch, output):
        result = original(batch, output).copy()
        result[rows(len(result))] = value
        return result

    monkeypatch.setattr(encoder._exact.runtime, "run", run)


def test_a_swapped_tokenizer_of_an_export_is_refused(encoder, tmp_path):
    encoder.save_export(tmp_path / "export")
    tokenizer = tmp_path / "export" / "tokenizer.json"
    swapped = tokenizer.read_text().replace('"cat"', '"tmp"').replace('"dog"', '"cat"')
    tokenizer.write_text(swapped.replace('"tmp"', '"dog"'))
    with pytest.raises(EncoderError, match=r"tokenizer\.json is damaged"):
        Encoder.load(tmp_path / "export")


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_a_bad_row_of_a_batch_is_encoded_again_alone(encoder, monkeypatch, value):
    expected = encoder.encode(["cat", "dog"])
    spoil(monkeypatch, encoder, rows=lambda size: slice(1, None), value=value)
    np.testing.assert_allclose(encoder.encode(["cat", "dog"]), expected, atol=1e-5)


@pytest.mark.parametrize("value", [np.nan, 0.0])
def test_a_text_without_a_vector_is_an_error_with_its_position(encoder, monkeypatch, value):
    spoil(monkeypatch, encoder, rows=lambda size: slice(None), value=value)
    with pytest.raises(UnencodableText, match="text 0") as caught:
        encoder.encode(["cat"])
    assert caught.value.position == 0


def test_a_saved_encoder_is_the_same_encoder(encoder, tmp_path):
    encoder.save(tmp_path / "copy")
    copy = Encoder.load(tmp_path / "copy")
    assert copy.fingerprint == encoder.fingerprint
    assert read_model_file(tmp_path / "copy")["fingerprint"] == encoder.fingerprint
    np.testing.assert_array_equal(copy.encode(TEXTS), encoder.encode(TEXTS))
    with pytest.raises(AlreadyExists):
        encoder.save(tmp_path / "copy")


def calibration_of_weights(fingerprint):
    curve = CalibrationCurve(CalibrationMethod.PLATT, slope=9.0, intercept=-5.0)
    return Calibration(
        curve=curve,
        weights=(1.0, 0.5),
        alone=curve,
        fingerprint=fingerprint,
        dim=32,
        candidates=100,
        units=40,
        scored=400,
        matches=40,
        log_losses={"platt": 0.2},
        error=0.01,
        counts=(ChanceCount(0.9, 10, 1),),
    )


@pytest.fixture
def knowing_dir(tiny_encoder_dir, tmp_path):
    """A model directory that says all that one can: of these weights, and for what they are."""
    model = shutil.copytree(tiny_encoder_dir, tmp_path / "knowing")
    fingerprint = Encoder.load(tiny_encoder_dir).fingerprint
    scorer = PairScorer(
        ("no", "yes"), np.ones((2, 96), dtype=np.float32), np.zeros(2, dtype=np.float32)
    )
    content = {
        "fingerprint": fingerprint,
        "base": "the base",
        "objective": "softmax",
        "trained_dims": [8, 16],
        "verdict": {"verdict": "keep"},
        "calibration": calibration_of_weights(fingerprint).as_dict(),
        "pair_scorer": write_pair_scorer(model, scorer),
    }
    write_model_file(model, content)
    return model


def test_what_a_model_directory_says_goes_with_a_saved_encoder(knowing_dir, tmp_path):
    given = Encoder.load(knowing_dir)
    given.save(tmp_path / "copy")
    copy = Encoder.load(tmp_path / "copy")
    assert read_model_file(tmp_path / "copy") == read_model_file(knowing_dir)
    assert (copy.fingerprint, copy.trained_dims) == (given.fingerprint, (8, 16))
    assert copy.calibration == given.calibration
    assert copy.pair_scorer.classes == ("no", "yes")
    np.testing.assert_array_equal(copy.pair_scorer.weight, given.pair_scorer.weight)


def test_a_saved_encoder_takes_over_its_own_directory(knowing_dir):
    Encoder.load(knowing_dir).save(knowing_dir, replace=True)
    again = Encoder.load(knowing_dir)
    assert (again.trained_dims, again.pair_scorer.classes) == ((8, 16), ("no", "yes"))


def test_what_was_said_of_other_weights_stays_behind(knowing_dir, tmp_path):
    other = write_tiny_encoder(tmp_path / "other", seed=1)
    shutil.copy(other / "model.safetensors", knowing_dir / "model.safetensors")
    changed = Encoder.load(knowing_dir)
    changed.save(tmp_path / "copy")
    content = read_model_file(tmp_path / "copy")
    assert (content["fingerprint"], content["base"]) == (changed.fingerprint, str(knowing_dir))
    assert content["trained_dims"] == [8, 16]
    said = [content[name] for name in ("objective", "calibration", "pair_scorer", "verdict")]
    assert said == [None] * 4
    assert not (tmp_path / "copy" / "pair_scorer.safetensors").exists()


def test_an_export_answers_alone(encoder, tmp_path):
    encoder.save_export(tmp_path / "export")
    alone = Encoder.load(tmp_path / "export")
    assert (alone.fingerprint, alone.directory) == (encoder.fingerprint, None)
    np.testing.assert_array_equal(alone.encode(TEXTS), encoder.encode(TEXTS))
    with pytest.raises(EncoderError, match="no full model"):
        alone.save(tmp_path / "model")


def test_a_directory_of_another_tool_is_left_as_it_is(tiny_encoder_dir, tmp_path):
    model = shutil.copytree(tiny_encoder_dir, tmp_path / "model")
    (model / "onnx").mkdir()
    (model / "onnx" / "model_qint8.onnx").write_bytes(b"mine")
    before = sorted(path.relative_to(model) for path in model.rglob("*"))
    Encoder.load(model).encode(["cat"])
    assert sorted(path.relative_to(model) for path in model.rglob("*")) == before
    with pytest.raises(AlreadyExists, match="never replaced"):
        Encoder.load(tiny_encoder_dir).save(model, replace=True)
    assert (model / "onnx" / "model_qint8.onnx").read_bytes() == b"mine"


def test_an_encoder_on_torch_gives_an_export_too(torch_encoder, tmp_path):
    torch_encoder.save_export(tmp_path / "export")
    exported = Encoder.load(tmp_path / "export")
    np.testing.assert_allclose(exported.encode(TEXTS), torch_encoder.encode(TEXTS), atol=1e-5)


def test_a_damaged_export_of_an_index_is_refused(encoder, tmp_path):
    encoder.save_export(tmp_path / "export")
    graph = tmp_path / "export" / "encoder.onnx"
    data = bytearray(graph.read_bytes())
    data[len(data) // 2] ^= 1
    graph.write_bytes(bytes(data))
    with pytest.raises(EncoderError, match="damaged"):
        Encoder.load(tmp_path / "export")


def test_a_damaged_export_of_a_model_is_made_anew(encoder, tiny_encoder_dir, tmp_path):
    Encoder.load(tiny_encoder_dir).save(tmp_path / "model")
    model = tmp_path / "model"
    (model / "onnx" / "encoder.onnx").write_bytes(b"damaged")
    np.testing.assert_allclose(Encoder.load(model).encode(TEXTS), encoder.encode(TEXTS), atol=1e-5)


def test_changed_weights_are_exported_again(tiny_encoder_dir, tmp_path):
    model = shutil.copytree(tiny_encoder_dir, tmp_path / "model")
    other = write_tiny_encoder(tmp_path / "other", seed=1)
    shutil.copy(other / "model.safetensors", model / "model.safetensors")
    np.testing.assert_allclose(
        Encoder.load(model).encode(TEXTS), Encoder.load(other).encode(TEXTS), atol=1e-6
    )


def test_an_export_that_disagrees_with_torch_is_refused(tiny_encoder_dir, tmp_path, monkeypatch):
    from simsearch.encoder import export

    monkeypatch.setattr(export, "PARITY_COSINE", 1.1)
    with pytest.raises(EncoderError, match="disagrees with torch: cosine"):
        export_encoder(read_layout(tiny_encoder_dir), tmp_path / "export", description={})
    assert not (tmp_path / "export").exists()


def test_without_an_export_torch_is_used_with_a_warning(tmp_path, monkeypatch, caplog):
    from simsearch.encoder import export

    monkeypatch.setattr(export, "PARITY_COSINE", 1.1)
    model = write_tiny_encoder(tmp_path / "model", seed=7)  # one that has no export yet
    assert Encoder.load(model).runtime == "torch"
    assert "torch is used instead" in caplog.text
    with pytest.raises(EncoderError, match="disagrees"):
        Encoder.load(model, runtime="onnx")


def test_a_refused_export_is_not_tried_again_with_the_same_versions(
    tmp_path, monkeypatch, private_cache
):
    from simsearch.encoder import export

    monkeypatch.setattr(export, "PARITY_COSINE", 1.1)
    model = write_tiny_encoder(tmp_path / "model", seed=8)
    with pytest.raises(EncoderError, match="disagrees with torch"):
        Encoder.load(model, runtime="onnx")
    monkeypatch.setattr(export, "PARITY_COSINE", 0.9999)  # it would pass now
    with pytest.raises(EncoderError, match="disagrees with torch"):
        Encoder.load(model, runtime="onnx")
    fingerprint = Encoder.load(model, runtime="torch").fingerprint
    refusal = private_cache / "encoders" / f"{fingerprint}.refused"
    refusal.write_text("simsearch 0, torch 0\nby other versions")
    assert Encoder.load(model).runtime == "onnx"


def test_the_parity_texts_are_mixed(encoder):
    texts = parity_texts()
    lengths = {len(text.split()) for text in texts}
    assert len(texts) == PARITY_TEXTS == 200
    assert min(lengths) == 1
    assert max(lengths) > 256
    assert any("🙂" in text for text in texts)
    assert any("卡" in text for text in texts)


def test_missing_tensors_are_refused_instead_of_being_random(tmp_path):
    from safetensors.torch import load_file, save_file

    model = write_tiny_encoder(tmp_path / "model")
    tensors = load_file(model / "model.safetensors")
    del tensors["encoder.layer.1.output.dense.weight"]
    save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EncoderError, match=r"1 tensors are missing.*layer\.1\.output\.dense"):
        Encoder.load(model, runtime="torch")


@pytest.mark.parametrize("name", ["models/support", "BAAI/bge-small-zh-v1.5", "no-such-model"])
def test_an_encoder_that_is_nowhere_is_one_line_and_offline_nothing_is_waited_for(
    name, monkeypatch
):
    waited = []

    def refuse(*address, **settings):
        waited.append(address)
        raise OSError("this test allows no network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(time, "sleep", waited.append)
    with pytest.raises(
        EncoderError, match="neither a directory nor a model in the hub's cache"
    ) as e:
        Encoder.load(name)
    assert "\n" not in str(e.value)
    assert waited == []


def test_the_packaged_encoder_goes_by_its_short_name_unless_a_directory_has_it(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert locate_encoder("all-MiniLM-L6-v2") == locate_encoder(None)
    (tmp_path / "all-MiniLM-L6-v2").mkdir()
    assert locate_encoder("all-MiniLM-L6-v2").directory == tmp_path / "all-MiniLM-L6-v2"


def test_a_path_that_is_no_directory_is_not_looked_for_on_the_hub(tmp_path):
    with pytest.raises(EncoderError, match="there is no encoder directory at"):
        Encoder.load(tmp_path / "nowhere")
    (tmp_path / "file").write_text("x")
    with pytest.raises(EncoderError, match="is a file"):
        Encoder.load(tmp_path / "file")


def test_default_weights_that_are_not_the_published_ones_are_refused(monkeypatch):
    from simsearch.encoder import locate

    monkeypatch.setattr(locate, "file_sha256", lambda path: "0" * 64)
    with pytest.raises(EncoderError, match="has SHA-256 000000000000, expected 53aa51172d14"):
        Encoder.load()


@pytest.mark.slow
def test_the_default_encoder_is_the_published_one():
    from sentence_transformers import SentenceTransformer

    encoder = Encoder.load()
    texts = ["card was swallowed", "the machine ate my card", "word " * 180, "?"]
    directory = str(encoder.directory)
    expected = SentenceTransformer(directory, device="cpu").encode(texts)
    assert (encoder.dim, encoder.max_length, encoder.runtime) == (384, 256, "onnx")
    np.testing.assert_allclose((encoder.encode(texts) * expected).sum(axis=1), 1, atol=1e-5)


@pytest.mark.slow
def test_the_default_encoder_says_that_it_knows_no_chinese():
    counts = EncodingCounts()
    Encoder.load().encode(["卡被机器吞了，怎么办？", "我的包裹还没有到"], counts=counts)
    assert counts.unknown_share > 0.3


def test_a_full_disk_during_the_export_is_not_held_against_the_encoder(tmp_path, monkeypatch):
    import torch

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    model = write_tiny_encoder(tmp_path / "model", seed=41)
    with monkeypatch.context() as patch:
        patch.setattr(torch.onnx, "export", full)
        with pytest.raises(SystemFailure, match="No space left on device"):
            Encoder.load(model, runtime="onnx")
    assert Encoder.load(model, runtime="onnx").runtime == "onnx"
