"""Micro-batches against one padded batch: the same embeddings, the same gradients."""

from __future__ import annotations

import contextlib
import json
import os

import numpy as np
import pytest
import torch
from encoder_families import FAMILIES, library_embeddings

from simsearch.encoder.layout import read_layout
from simsearch.encoder.tokenization import TextTokenizer
from simsearch.records import Pair, Triplet
from simsearch.training import micro_batches
from simsearch.training.batches import Batches, DataSet
from simsearch.training.config import Sampling
from simsearch.training.micro_batches import MicroBatches, TokenizedInput
from simsearch.training.objectives import OBJECTIVES
from simsearch.training.trainable import load_trainable

TEXTS = [
    "my card was late",
    "the cat",
    "a dog sat on the mat and the bird sings",
    "where is the parcel",
    "refund my money please",
    "help",
]


@pytest.fixture(scope="module")
def layout(tiny_encoder_dir):
    return read_layout(tiny_encoder_dir)


@pytest.fixture(scope="module")
def loaded(layout):
    return load_trainable(layout)


@pytest.fixture
def model(loaded):
    """The model without dropout, so that values can be compared, and without gradients."""
    loaded.zero_grad()
    return loaded.eval()


@pytest.fixture
def texts(layout):
    return tokenized(layout, TEXTS)


def tokenized(layout, texts, *, prompt=""):
    tokenizer = TextTokenizer(layout.fast_tokenizer, max_length=layout.max_length)
    length = tokenizer.prompt_length(prompt) if prompt and not layout.include_prompt else 0
    rows = tokenizer.tokenize([prompt + text for text in texts])
    return [TokenizedInput(row.ids, length) for row in rows]


def padded_embeddings(model, texts):
    """Return the embeddings of one batch through the model as the library pads it."""
    return model(model.preprocess(list(texts)))["sentence_embedding"]


@contextlib.contextmanager
def forwards(model):
    """Collect the shape of everything that goes through the transformer."""
    shapes = []
    hook = model[0].register_forward_pre_hook(
        lambda _, given: shapes.append(tuple(given[0]["input_ids"].shape))
    )
    try:
        yield shapes
    finally:
        hook.remove()


def gradients(model):
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


TARGET = torch.linspace(-1, 1, len(TEXTS) * 32).reshape(len(TEXTS), 32)


def contrast(embeddings):
    """A loss in which every embedding meets every other."""
    return (embeddings @ embeddings.T).logsumexp(dim=1).mean() - (embeddings * TARGET).sum()


def backward(micro_batches, texts, *, seed=0, loss=contrast):
    """Return the loss, and the gradients that it left."""
    micro_batches.model.zero_grad()
    value = micro_batches.backward(texts, loss, seed=seed)
    return value, gradients(micro_batches.model)


def assert_close(found, expected, *, atol):
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=atol, rtol=1e-4, msg=name)


# Embeddings.


@pytest.mark.parametrize("budget", [1, 8, 10_000])
def test_micro_batches_give_the_embeddings_of_one_batch(model, texts, budget):
    found = MicroBatches(model, budget=budget, pad_id=0).embed(texts)
    with torch.no_grad():
        expected = padded_embeddings(model, TEXTS)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_no_texts_have_no_embeddings(model):
    assert MicroBatches(model, budget=8, pad_id=0).embed([]).shape == (0, 32)


def test_a_micro_batch_is_of_like_length_and_within_the_budget(model, texts):
    with forwards(model) as shapes:
        MicroBatches(model, budget=14, pad_id=0).embed(texts)
    # Of 12, 6, 6, 6, 4 and 3 tokens: the longest first, alone where it takes up the budget.
    assert shapes == [(1, 12), (2, 6), (2, 6), (1, 3)]


def test_embeddings_are_those_of_the_cut_dimensions_of_unit_length(model, texts):
    whole = MicroBatches(model, budget=8, pad_id=0).embed(texts).numpy()[:, :5]
    model.truncate_dim = 5
    try:
        found = MicroBatches(model, budget=8, pad_id=0).embed(texts).numpy()
    finally:
        model.truncate_dim = None
    np.testing.assert_allclose(
        found, whole / np.linalg.norm(whole, axis=1, keepdims=True), atol=1e-6
    )


def test_tokens_of_a_prompt_do_not_count_where_the_encoder_says_so(tmp_path):
    FAMILIES["prompts-left-out-of-pooling"].write(tmp_path / "model")
    layout = read_layout(tmp_path / "model")
    model = load_trainable(layout).eval()
    queries = tokenized(layout, TEXTS[:3], prompt=layout.query_prompt)
    documents = tokenized(layout, TEXTS[3:], prompt=layout.document_prompt)
    mixed = [text for both in zip(queries, documents, strict=True) for text in both]
    found = MicroBatches(model, budget=40, pad_id=layout.pad_id).embed(mixed).numpy()
    for rows, given, prompt in (
        (found[::2], TEXTS[:3], layout.query_prompt),
        (found[1::2], TEXTS[3:], layout.document_prompt),
    ):
        expected = library_embeddings(tmp_path / "model", given, prompt)
        np.testing.assert_allclose(rows, expected, atol=1e-5)


# Gradients.


@pytest.mark.parametrize("budget", [1, 8, 10_000])
@pytest.mark.parametrize("kept_tokens", [0, 10_000])
def test_gradients_are_those_of_one_padded_batch(model, texts, budget, kept_tokens):
    expected_value = contrast(padded_embeddings(model, TEXTS))
    expected_value.backward()
    expected = gradients(model)
    micro_batches = MicroBatches(model, budget=budget, pad_id=0, kept_tokens=kept_tokens)
    value, found = backward(micro_batches, texts)
    assert value == pytest.approx(expected_value.item(), abs=1e-4)
    assert_close(found, expected, atol=1e-5)
    assert max(gradient.abs().max() for gradient in found.values()) > 0.1


def test_gradients_add_to_those_that_are_there(model, texts):
    micro_batches = MicroBatches(model, budget=8, pad_id=0)
    _, once = backward(micro_batches, texts)
    micro_batches.backward(texts, contrast, seed=0)
    assert_close(gradients(model), {name: 2 * part for name, part in once.items()}, atol=1e-5)


def test_embedding_twice_gives_the_gradients_of_embedding_once_with_dropout_too(model, texts):
    model.train()
    once = MicroBatches(model, budget=8, pad_id=0)
    twice = MicroBatches(model, budget=8, pad_id=0, kept_tokens=0)
    value, expected = backward(once, texts, seed=7)
    assert backward(twice, texts, seed=7)[0] == pytest.approx(value, abs=1e-6)
    assert_close(gradients(model), expected, atol=1e-6)


@pytest.mark.parametrize("kept_tokens", [0, 10_000])
def test_dropout_is_drawn_from_the_seed(model, texts, kept_tokens):
    model.train()
    micro_batches = MicroBatches(model, budget=8, pad_id=0, kept_tokens=kept_tokens)
    first, same, other = (backward(micro_batches, texts, seed=seed)[1] for seed in (7, 7, 8))
    assert_close(same, first, atol=0)
    name = "0.model.embeddings.word_embeddings.weight"
    assert (other[name] - first[name]).abs().max() > 0.01


def test_two_copies_of_a_text_have_dropout_masks_of_their_own(model, layout):
    model.train()
    seen = []

    def difference(embeddings):
        seen.append((embeddings[0] - embeddings[1]).norm().item())
        return embeddings.sum()

    copies = tokenized(layout, [TEXTS[0]] * 2)
    for budget in (1, 10_000):  # each in a micro-batch of its own, and both in one
        MicroBatches(model, budget=budget, pad_id=0).backward(copies, difference, seed=0)
    assert min(seen) > 0.01


@pytest.mark.parametrize(("kept_tokens", "times"), [(10_000, 1), (0, 2)])
def test_each_distinct_text_of_a_batch_goes_through_once_or_twice_without_its_graph(
    model, layout, kept_tokens, times
):
    examples = [Pair(text, other) for text in TEXTS[:4] for other in TEXTS[4:]]
    batches = Batches(
        [DataSet("", examples, OBJECTIVES["in-batch"])],
        batch_size=8,
        sampling=Sampling.PROPORTIONAL,
        seed=0,
        layout=layout,
    )
    batch = batches.batch((0, tuple(range(8))))
    with forwards(model) as shapes:
        MicroBatches(model, budget=8, pad_id=0, kept_tokens=kept_tokens).backward(
            batch.texts, contrast, seed=0
        )
    assert sum(rows for rows, _ in shapes) == times * len(TEXTS)


def test_a_batch_up_to_the_limit_is_embedded_once(model, texts):
    tokens = sum(len(text.ids) for text in texts)
    counts = []
    for limit in (tokens, tokens - 1):
        with forwards(model) as shapes:
            MicroBatches(model, budget=8, pad_id=0, kept_tokens=limit).backward(
                texts, contrast, seed=0
            )
        counts.append(sum(rows for rows, _ in shapes))
    assert counts == [len(TEXTS), 2 * len(TEXTS)]


def test_a_batch_beyond_the_limit_is_embedded_without_a_graph_at_first(model, texts):
    with_graph = []
    hook = model[0].register_forward_pre_hook(lambda *_: with_graph.append(torch.is_grad_enabled()))
    try:
        MicroBatches(model, budget=1, pad_id=0, kept_tokens=0).backward(texts, contrast, seed=0)
    finally:
        hook.remove()
    assert with_graph == [False] * len(TEXTS) + [True] * len(TEXTS)


@pytest.mark.parametrize("kept_tokens", [0, 10_000])
@pytest.mark.parametrize("factor", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_is_returned_and_leads_nothing_back(
    model, texts, factor, kept_tokens
):
    micro_batches = MicroBatches(model, budget=8, pad_id=0, kept_tokens=kept_tokens)
    value, found = backward(
        micro_batches, texts, loss=lambda rows: (1 + rows.sum().square()) * factor
    )
    assert str(value) == str(factor)
    assert found == {}


def test_a_loss_is_that_of_the_embeddings_cut_and_of_unit_length_again(model, texts):
    expected = torch.nn.functional.normalize(padded_embeddings(model, TEXTS)[:, :5], dim=-1)
    (expected * TARGET[:, :5]).sum().backward()
    wanted = gradients(model)
    model.truncate_dim = 5
    try:
        _, found = backward(
            MicroBatches(model, budget=8, pad_id=0),
            texts,
            loss=lambda rows: (rows * TARGET[:, :5]).sum(),
        )
    finally:
        model.truncate_dim = None
    assert_close(found, wanted, atol=1e-5)


def test_what_is_cut_off_is_not_trained(tmp_path):
    """A Dense makes each component of an embedding by a row of its weights."""
    FAMILIES["old-dense"].write(tmp_path / "model")
    settings = tmp_path / "model" / "config_sentence_transformers.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"truncate_dim": 16}))
    layout = read_layout(tmp_path / "model")
    micro_batches = MicroBatches(load_trainable(layout), budget=64, pad_id=layout.pad_id)
    _, found = backward(micro_batches, tokenized(layout, TEXTS), loss=torch.sum)
    gradient = found["2.linear.weight"].abs().amax(dim=1)  # (48,)
    assert gradient[:16].mean() > 0.01  # many are 0: the Dense is saturated
    assert gradient[16:].max() < 1e-6


@pytest.mark.parametrize("kept_tokens", [0, 10_000])
def test_frozen_weights_get_no_gradient_and_the_others_the_same(model, texts, kept_tokens):
    micro_batches = MicroBatches(model, budget=8, pad_id=0, kept_tokens=kept_tokens)
    _, whole = backward(micro_batches, texts)
    frozen = model[0].model.embeddings
    frozen.requires_grad_(False)
    try:
        _, found = backward(micro_batches, texts)
    finally:
        frozen.requires_grad_(True)
    expected = {name: part for name, part in whole.items() if ".embeddings." not in name}
    assert_close(found, expected, atol=1e-6)


def test_an_encoder_frozen_as_a_whole_still_has_a_loss(model, texts):
    micro_batches = MicroBatches(model, budget=8, pad_id=0)
    expected, _ = backward(micro_batches, texts)
    model.requires_grad_(False)
    try:
        value, found = backward(micro_batches, texts)
    finally:
        model.requires_grad_(True)
    assert value == pytest.approx(expected, abs=1e-6)
    assert found == {}


def test_a_loss_that_no_embedding_has_a_part_in_leads_nothing_back_to_the_encoder(model, texts):
    bias = torch.nn.Parameter(torch.tensor(3.0))
    value, found = backward(
        MicroBatches(model, budget=8, pad_id=0), texts, loss=lambda rows: bias.square()
    )
    assert (value, found) == (9.0, {})
    assert float(bias.grad) == 6.0


def test_a_batch_of_triplets_has_the_loss_of_its_columns(model, layout):
    examples = [Triplet(TEXTS[0], TEXTS[1], TEXTS[2]), Triplet(TEXTS[3], TEXTS[1], TEXTS[4])]
    batches = Batches(
        [DataSet("", examples, OBJECTIVES["triplet-hinge"])],
        batch_size=2,
        sampling=Sampling.PROPORTIONAL,
        seed=0,
        layout=layout,
    )
    batch = batches.batch((0, (0, 1)))
    loss = OBJECTIVES["triplet-hinge"].loss(model, 0)
    value, _ = backward(
        MicroBatches(model, budget=8, pad_id=0),
        batch.texts,
        loss=lambda rows: loss([rows[column] for column in batch.columns], batch.target),
    )
    with torch.no_grad():
        anchor, positive, negative = (
            padded_embeddings(model, column).numpy()
            for column in zip(*((e.anchor, e.positive, e.negative) for e in examples), strict=True)
        )
    margins = (anchor * negative).sum(1) - (anchor * positive).sum(1) + 0.2
    assert value == pytest.approx(np.maximum(margins, 0).mean(), abs=1e-5)


def test_half_of_the_free_memory_is_for_the_graph(model, monkeypatch):
    """Two layers of 32 units and 2 heads, a window of 32, 4 bytes a number."""
    numbers = 2 * 2 * (17 * 32 + 2.5 * 2 * 32)
    monkeypatch.setattr(micro_batches, "free_memory", lambda device: 2 * 4 * numbers * 1000)
    assert MicroBatches(model, budget=8, pad_id=0).kept_tokens == 1000


def test_the_free_memory_is_what_the_system_says():
    free = micro_batches.free_memory(torch.device("cpu"))
    assert 1 << 20 < free < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_the_limits_of_control_groups_bound_what_is_free(tmp_path):
    groups = tmp_path / "sys/fs/cgroup"
    (groups / "pod/one").mkdir(parents=True)
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("9:name=systemd:/\n0::/pod/one\n")
    assert micro_batches._free_in_group(tmp_path) > 1 << 60  # no limit is written down
    for folder, limit, used in (("pod", "1000", "300"), ("pod/one", "max", "200")):
        (groups / folder / "memory.max").write_text(f"{limit}\n")
        (groups / folder / "memory.current").write_text(f"{used}\n")
        (groups / folder / "memory.stat").write_text("anon 150\ninactive_file 50\n")
    assert micro_batches._free_in_group(tmp_path) == 1000 - 300 + 50
