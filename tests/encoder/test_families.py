"""Every encoder family means here what it means to sentence-transformers, untuned and tuned."""

from __future__ import annotations

import random
from functools import cached_property

import numpy as np
import pytest
from conftest import WORDS
from encoder_families import FAMILIES, MAMBA, TEXTS, library_embeddings, oracle_embeddings

from simsearch.encoder import Encoder, EncodingCounts
from simsearch.errors import EncoderError
from simsearch.records import Document, Pair
from simsearch.search_index import SearchIndex
from simsearch.training import TrainingConfig, TrainingData, finetune

# One of each kind of positions, attention, tokenizer, pooling, head and old directory. The others
# differ from one of these in their names and sizes; they are marked slow.
QUICK = {
    "bert",
    "roberta",
    "albert",
    "deberta-v2",
    "t5",
    "xlnet",
    "gpt2",
    "modernbert",
    "nomic-bert",
    "qwen3",
    "pooling-max",
    "pooling-weighted-mean",
    "pooling-mean-and-cls",
    "pooling-last-token-qwen3",
    "normalize-before-dense",
    "two-dense-gemma3",
    "prompts-left-out-of-pooling",
    "max-seq-length",
    "truncated-dim",
    "old-cls",
    "old-lower-case",
    "old-transformer-folder",
    "old-dense",
}
# Those of them that are trained in different ways: words, bytes and pieces; the positions of BERT,
# T5 and Qwen; nothing, a head, or a prompt behind the transformer.
QUICKLY_TUNED = {
    "bert",
    "gpt2",
    "t5",
    "pooling-last-token-qwen3",
    "two-dense-gemma3",
    "prompts-left-out-of-pooling",
    "truncated-dim",
    "old-dense",
}
PROMPTED = [name for name, family in FAMILIES.items() if family.query_prompt]
# Read in another way, but trained as one of the rest: tuning them too would show nothing new.
TRAINED_AS_ANOTHER = {
    "mt5",
    "qwen3-causal-lm",
    "pooling-cls",
    "pooling-max",
    "pooling-mean-sqrt-len",
    "old-mean",
    "old-cls",
    "old-transformer-folder",
    "old-dense-identity",
}
TUNED = [name for name in FAMILIES if name not in TRAINED_AS_ANOTHER]
SETTINGS = TrainingConfig(epochs=1, batch_size=4, learning_rate=1e-3, held_out=0.2, seed=0)


class Made:
    """One family's directory, and what is loaded from it when first asked for."""

    def __init__(self, name, directory):
        self.family = FAMILIES[name]
        self.directory = directory / name
        self.family.write(self.directory)

    @cached_property
    def on_torch(self):
        return Encoder.load(self.directory, runtime="torch")

    @cached_property
    def exported(self):
        """The encoder as users get it: by the export, unless that could not be made."""
        return Encoder.load(self.directory)

    @cached_property
    def documents(self):
        return oracle_embeddings(self.directory, TEXTS, self.family.document_prompt)

    @cached_property
    def queries(self):
        return oracle_embeddings(self.directory, TEXTS, self.family.query_prompt)

    @cached_property
    def tuned(self):
        """The directory of a model tuned for a few steps, whatever its verdict."""
        output = self.directory.parent / "tuned"
        finetune(
            TrainingData(make_pairs(24)),
            output,
            encoder=self.directory,
            config=SETTINGS,
            force=True,
        )
        return output

    @cached_property
    def tuned_encoder(self):
        return Encoder.load(self.tuned)


def make_pairs(count):
    """Two halves of one shuffled sentence each."""
    rng = random.Random(0)
    rows = [rng.sample(WORDS, 8) for _ in range(count)]
    return [Pair(" ".join(words[:5]), " ".join(words[3:])) for words in rows]


def marked(names, quick):
    """Return the names as parameters, of which only the quick ones are in the fast run."""
    return [pytest.param(name, marks=[] if name in quick else pytest.mark.slow) for name in names]


@pytest.fixture(scope="module", params=marked(FAMILIES, QUICK))
def made(request, tmp_path_factory):
    return Made(request.param, tmp_path_factory.mktemp("family"))


def assert_same_embeddings(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def assert_same_directions(found, expected):
    cosines = (found.astype(np.float64) * expected).sum(axis=1)
    assert cosines.min() >= 0.9999


def test_torch_gives_the_embeddings_of_the_oracle(made):
    assert_same_embeddings(made.on_torch.encode(TEXTS), made.documents)


def test_the_export_gives_the_embeddings_of_the_oracle(made):
    found = made.exported.encode(TEXTS)
    assert made.exported.runtime == "onnx"
    assert_same_directions(found, made.documents)


def test_queries_get_their_own_prompt(made):
    assert_same_embeddings(made.on_torch.encode_queries(TEXTS), made.queries)
    assert_same_directions(made.exported.encode_queries(TEXTS), made.queries)


@pytest.mark.parametrize("made", marked(PROMPTED, QUICK), indirect=True)
def test_a_prompt_makes_a_difference(made):
    cosines = (made.exported.encode_queries(TEXTS) * made.exported.encode(TEXTS)).sum(axis=1)
    assert cosines.max() < 0.999


@pytest.mark.parametrize("runtime", ["on_torch", "exported"])
def test_a_text_has_the_same_vector_in_any_company(made, runtime):
    encoder = getattr(made, runtime)
    together = encoder.encode(TEXTS)
    alone = np.vstack([encoder.encode([text]) for text in TEXTS])
    assert_same_embeddings(together, alone)
    assert_same_embeddings(encoder.encode(TEXTS[::-1])[::-1], together)


def test_the_dim_and_the_window_are_the_models(made):
    for encoder in (made.on_torch, made.exported):
        assert (encoder.dim, encoder.max_length) == (made.family.dim, made.family.max_length)


def test_what_lies_beyond_the_window_is_not_seen_and_is_counted(made):
    counts = EncodingCounts()
    long = "late parcel, " * 40
    vectors = made.exported.encode([long, long + "the cat", "card"], counts=counts)
    np.testing.assert_array_equal(vectors[0], vectors[1])
    assert (counts.texts, counts.truncated) == (3, 2)


def test_each_token_has_a_vector_in_every_layer(made):
    texts = ["my card was late", "the cat sat on the mat"]
    for encoder in (made.on_torch, made.exported):
        tokens = encoder.encode_tokens(texts)
        layers = encoder.hidden_states(texts)
        for text_tokens, text_layers in zip(tokens, layers, strict=True):
            count = len(text_tokens.offsets)
            assert text_layers.shape == (3, count, 32)  # the embeddings and two layers
            np.testing.assert_allclose(text_layers[-1], text_tokens.vectors, atol=1e-5)


def test_both_runtimes_are_one_encoder(made):
    assert made.on_torch.fingerprint == made.exported.fingerprint


def test_a_saved_copy_is_the_same_encoder_here_and_in_the_library(made, tmp_path):
    made.exported.save(tmp_path / "copy")
    copy = Encoder.load(tmp_path / "copy")
    assert copy.fingerprint == made.exported.fingerprint
    np.testing.assert_array_equal(copy.encode(TEXTS), made.exported.encode(TEXTS))
    found = oracle_embeddings(tmp_path / "copy", TEXTS, made.family.document_prompt)
    assert_same_embeddings(found, made.documents)


def test_the_export_answers_without_the_model(made, tmp_path):
    made.exported.save_export(tmp_path / "export")
    alone = Encoder.load(tmp_path / "export")
    assert (alone.dim, alone.max_length) == (made.family.dim, made.family.max_length)
    np.testing.assert_array_equal(alone.encode(TEXTS), made.exported.encode(TEXTS))
    np.testing.assert_array_equal(alone.encode_queries(TEXTS), made.exported.encode_queries(TEXTS))


@pytest.mark.parametrize("made", marked(TUNED, QUICKLY_TUNED), indirect=True)
def test_tuning_changes_the_embeddings_and_nothing_else(made):
    tuned, base = made.tuned_encoder, made.exported
    assert tuned.runtime == "onnx"
    assert (tuned.dim, tuned.max_length) == (base.dim, base.max_length)
    assert tuned.fingerprint != base.fingerprint
    assert np.abs(tuned.encode(TEXTS) - base.encode(TEXTS)).max() > 1e-3


@pytest.mark.parametrize("made", marked(TUNED, QUICKLY_TUNED), indirect=True)
def test_a_tuned_model_is_the_same_in_the_library(made):
    documents = library_embeddings(made.tuned, TEXTS, made.family.document_prompt)
    queries = library_embeddings(made.tuned, TEXTS, made.family.query_prompt)
    assert_same_directions(made.tuned_encoder.encode(TEXTS), documents)
    assert_same_directions(made.tuned_encoder.encode_queries(TEXTS), queries)
    on_torch = Encoder.load(made.tuned, runtime="torch")
    assert_same_embeddings(on_torch.encode(TEXTS), documents)


@pytest.mark.parametrize("made", marked(TUNED, QUICKLY_TUNED), indirect=True)
def test_an_index_of_a_tuned_model_answers_by_the_oracles_cosine(made, tmp_path):
    rows = [Document(id=str(number), text=text) for number, text in enumerate(TEXTS)]
    with SearchIndex.create(tmp_path / "index", encoder=made.tuned_encoder) as index:
        index.add(rows)
        hits = index.search(TEXTS[2], k=12)
        own = index.search_vectors(made.tuned_encoder.encode([TEXTS[2]]), k=1)[0]
    query = library_embeddings(made.tuned, [TEXTS[2]], made.family.query_prompt)
    documents = library_embeddings(made.tuned, TEXTS, made.family.document_prompt)
    cosines = (documents @ query[0]).tolist()
    assert [hit.score for hit in hits] == pytest.approx(sorted(cosines, reverse=True), abs=1e-3)
    assert (own[0].id, own[0].score > 0.999) == ("2", True)
    with SearchIndex.open(tmp_path / "index") as index:
        assert index.search(TEXTS[2], k=12) == hits


@pytest.mark.parametrize(
    "made",
    marked([name for name in TUNED if name not in PROMPTED], QUICKLY_TUNED),
    indirect=True,
)
def test_without_prompts_a_document_is_the_best_hit_of_its_own_text(made, tmp_path):
    with SearchIndex.create(tmp_path / "index", encoder=made.tuned_encoder) as index:
        index.add([Document(id=str(n), text=text) for n, text in enumerate(TEXTS)])
        found = [hits[0] for hits in index.search_many(TEXTS, k=1)]
    assert [hit.id for hit in found] == [str(number) for number in range(len(TEXTS))]
    assert min(hit.score for hit in found) > 0.999


def test_a_family_that_cannot_be_exported_runs_on_torch_and_says_so(tmp_path, caplog):
    MAMBA(tmp_path / "mamba")
    encoder = Encoder.load(tmp_path / "mamba")
    assert encoder.runtime == "torch"
    assert "torch is used instead" in caplog.text
    assert_same_embeddings(encoder.encode(TEXTS), oracle_embeddings(tmp_path / "mamba", TEXTS))
    with pytest.raises(EncoderError, match="the exported graph does not run"):
        Encoder.load(tmp_path / "mamba", runtime="onnx")
