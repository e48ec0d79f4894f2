from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import write_tiny_encoder
from head_training import tagged_texts

from simsearch.encoder import Encoder
from simsearch.errors import EncoderError, EncoderMismatch, InvalidData, InvalidInput
from simsearch.evaluation import score_spans
from simsearch.heads import (
    Classifier,
    EncoderReference,
    Tagger,
    TaggerConfig,
    TaggerTraining,
    read_texts,
    tag_texts,
    train_tagger,
)
from simsearch.heads.tagger_config import Layers
from simsearch.heads.tagger_inputs import TaggerInputs
from simsearch.heads.tagger_module import Block, Dropout, TaggerModule
from simsearch.records import Span, TaggedText

REFERENCE = EncoderReference("nowhere", "f" * 64, dim=4)
SMALL = TaggerConfig(hidden=32, epochs=6, batch_size=8, dropout=0.1, learning_rate=5e-3)


@pytest.fixture(scope="module")
def encoder(tiny_encoder_dir: Path) -> Encoder:
    return Encoder.load(tiny_encoder_dir)


@pytest.fixture(scope="module")
def training(encoder: Encoder) -> TaggerTraining:
    return train_tagger(tagged_texts(150), encoder, config=SMALL)


@pytest.fixture
def saved(training: TaggerTraining, tmp_path: Path) -> Path:
    training.head.save(tmp_path / "head")
    return tmp_path / "head"


def random_inputs(directions: int | None) -> TaggerInputs:
    rng = np.random.default_rng(3)
    mean, scale = rng.normal(size=12), rng.random(12) + 0.5
    found = None if directions is None else rng.normal(size=(directions, 12)).astype(np.float32)
    return TaggerInputs(mean.astype(np.float32), scale.astype(np.float32), found)


def random_module(joined: Layers, *, width: int = 12) -> TaggerModule:
    torch.manual_seed(3)
    module = TaggerModule(
        width, layers=3, labels=2, hidden=8, blocks=2, kernel=5, dropout=0.5, joined=joined,
        rng=np.random.default_rng(3),
    )  # fmt: skip
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return module.eval()


@pytest.mark.parametrize(
    ("joined", "directions"),
    [(Layers.MIXED, None), (Layers.CONCATENATED, None), (Layers.CONCATENATED, 5)],
)
def test_numpy_computes_what_torch_does(joined, directions):
    module = random_module(joined, width=directions or 12)
    inputs = random_inputs(directions)
    head = module.tagger(REFERENCE, ("A", "B"), inputs=inputs, field="entities")
    rng = np.random.default_rng(0)
    lengths = [3, 1, 7]
    vectors = [rng.normal(size=(length, 12)).astype(np.float32) for length in lengths]
    shapes = [(rng.random((length, 18)) < 0.5).astype(np.float32) for length in lengths]
    together = head.emissions(vectors, shapes)
    for own, shape, found in zip(vectors, shapes, together, strict=True):
        with torch.inference_mode():  # each text by itself: gaps keep neighbours apart
            made = torch.from_numpy(inputs.of(own))
            expected = module(made, torch.from_numpy(shape), torch.arange(len(own)), len(own))
        np.testing.assert_allclose(found, expected.numpy(), atol=1e-4)
    with torch.inference_mode():
        begin, follow = module.transitions()
    np.testing.assert_array_equal(head.chain.begin, begin.numpy())
    np.testing.assert_array_equal(head.chain.follow, follow.numpy())


def test_dropout_leaves_out_its_share_and_keeps_the_mean():
    dropout = Dropout(0.25, np.random.default_rng(0))
    rows = dropout(torch.ones(200, 500))
    assert sorted(rows.unique().tolist()) == [0.0, pytest.approx(4 / 3)]
    assert float((rows == 0).float().mean()) == pytest.approx(0.25, abs=0.005)
    assert not torch.equal(rows, dropout(torch.ones(200, 500)))
    assert torch.equal(dropout.eval()(rows), rows)


def test_a_block_is_made_of_torch_s_own_parts():
    torch.manual_seed(0)
    block = Block(6, kernel=5, dropout=Dropout(0.0, np.random.default_rng(0)))
    rows, real = torch.randn(9, 6), torch.ones(9, 1)
    real[4] = 0  # a gap
    own = rows.clone().requires_grad_()
    torch.autograd.backward((block(own, real) ** 2).sum())
    found = [own.grad, *(each.grad.clone() for each in block.parameters())]
    block.zero_grad()
    theirs = rows.clone().requires_grad_()
    normed = block.norm(theirs) * real
    mixed = block.depthwise(normed.T.unsqueeze(0)).squeeze(0).T
    expected = theirs + block.mix(torch.relu(mixed))
    torch.autograd.backward((expected**2).sum())
    with torch.inference_mode():
        torch.testing.assert_close(block(rows, real), expected.detach())
    for gradient, right in zip(
        found, [theirs.grad, *(each.grad for each in block.parameters())], strict=True
    ):
        torch.testing.assert_close(gradient, right)


def test_what_was_left_out_gets_no_gradient():
    rows = torch.ones(4, 50, requires_grad=True)
    dropped = Dropout(0.5, np.random.default_rng(0))(rows)
    torch.autograd.backward(dropped.sum())
    assert torch.equal(rows.grad, dropped.detach())


def test_the_loss_is_minus_the_log_of_the_share_of_the_right_sequence():
    import itertools

    module = random_module(Layers.MIXED)
    scores = torch.randn(5, 5)
    tags = torch.tensor([1, 2, 0, 3, 4])
    with torch.inference_mode():
        begin, follow = module.transitions()
        found = module.loss(scores, tags, [3, 2])
    total = 0.0
    for rows, right in ((scores[:3], (1, 2, 0)), (scores[3:], (3, 4))):
        sums = {}
        for path in itertools.product(range(5), repeat=len(rows)):
            value = begin[path[0]] + sum(rows[step, tag] for step, tag in enumerate(path))
            value += sum(follow[pair] for pair in itertools.pairwise(path))
            sums[path] = float(value)
        total += np.log(np.sum(np.exp(list(sums.values())))) - sums[right]
    assert float(found) == pytest.approx(total / 5, rel=1e-4)


def test_a_trained_tagger_finds_the_spans_of_new_texts(training, encoder):
    new = tagged_texts(60, seed=5)
    found = tag_texts(training.head, encoder, [text.text for text in new])
    scores = score_spans(
        [text.spans for text in new], [[span.span for span in spans] for spans in found]
    )
    assert scores.f1 > 0.95
    assert all(0 < span.probability <= 1 for spans in found for span in spans)
    assert training.losses[-1] < training.losses[0] / 4
    assert (training.texts, training.cut_spans) == (150, 0)


def test_a_span_is_a_range_of_the_original_text(training, encoder):
    text = "my  THE   Cat\tsat"  # an uncased encoder; white space as it is
    ((span,),) = tag_texts(training.head, encoder, [text])
    assert text[span.start : span.end] == "THE   Cat"


def test_a_text_beyond_the_window_is_tagged_to_its_end(training, encoder):
    text = "my money was late " * 20 + "the dog"
    ((span,),) = tag_texts(training.head, encoder, [text])
    assert (text[span.start : span.end], span.label) == ("the dog", "ANIMAL")


def test_the_company_of_other_texts_changes_nothing(training, encoder):
    texts = [text.text for text in tagged_texts(20, seed=8)]
    together = tag_texts(training.head, encoder, texts)
    alone = [tag_texts(training.head, encoder, [text])[0] for text in texts]
    assert [[span.span for span in spans] for spans in together] == [
        [span.span for span in spans] for spans in alone
    ]


def test_a_mean_of_the_layers_serves_too(encoder):
    config = TaggerConfig(
        layers="mixed", hidden=32, epochs=6, batch_size=8, dropout=0.1, learning_rate=5e-3
    )
    head = train_tagger(tagged_texts(150), encoder, config=config).head
    new = tagged_texts(40, seed=5)
    found = tag_texts(head, encoder, [text.text for text in new])
    scores = score_spans(
        [text.spans for text in new], [[span.span for span in spans] for spans in found]
    )
    assert scores.f1 > 0.9


def test_the_same_seed_gives_the_same_tagger(encoder):
    config = TaggerConfig(hidden=8, epochs=1)
    first, again = (train_tagger(tagged_texts(30), encoder, config=config) for _ in range(2))
    assert first.losses == again.losses
    np.testing.assert_array_equal(first.head.project, again.head.project)


def test_a_tagger_is_read_as_it_was_written(training, saved, encoder):
    again = Tagger.load(saved)
    texts = [text.text for text in tagged_texts(20, seed=8)]
    assert tag_texts(again, encoder, texts) == tag_texts(training.head, encoder, texts)
    assert (again.labels, again.field) == (("ANIMAL", "PLACE"), "entities")
    assert sorted(path.name for path in saved.iterdir()) == ["head.json", "head.safetensors"]


def test_another_encoder_is_refused(training, tmp_path):
    other = Encoder.load(write_tiny_encoder(tmp_path / "other", seed=1))
    with pytest.raises(EncoderMismatch, match="the head was trained on encoder"):
        tag_texts(training.head, other, ["cat"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": ["A"]}, r"must be float32"),
        ({"hidden": 31}, r"must be float32 \(31,\), got float32 \(32,\)"),
        ({"kernels": [5, 5, 5]}, r"'blocks.2.norm_weight' must be float32 .* got nothing"),
        ({"kernels": [4]}, "another version"),
        ({"kernels": [5] * 17}, "another version"),
        ({"shapes": 3}, "another version"),
        ({"hidden": "many"}, "'hidden' must be of type int, got 'many'"),
    ],
)
def test_a_damaged_tagger_is_refused(saved, changes, message):
    content = json.loads((saved / "head.json").read_text(encoding="utf-8"))
    (saved / "head.json").write_text(json.dumps({**content, **changes}), encoding="utf-8")
    with pytest.raises(EncoderError, match=message):
        Tagger.load(saved)


def test_a_tagger_is_no_classifier(saved):
    with pytest.raises(InvalidInput, match="is a tagger, expected a classifier"):
        Classifier.load(saved)


def test_texts_without_a_span_are_refused(encoder):
    with pytest.raises(InvalidData, match="none of the 1 texts has a span"):
        train_tagger([TaggedText("cat", ())], encoder)


def test_a_span_beyond_its_text_and_one_string_for_texts_are_refused(training, encoder):
    texts = [TaggedText("the cat", (Span(4, 30, "ANIMAL"),))]
    with pytest.raises(InvalidData, match="a span of 'the cat' ends beyond the text"):
        train_tagger(texts, encoder)
    with pytest.raises(InvalidInput, match="got one string"):
        tag_texts(training.head, encoder, "the cat")


def test_a_span_within_a_word_is_learnt_as_the_word(encoder):
    texts = [*tagged_texts(10), TaggedText("catdog", (Span(0, 3, "ANIMAL"),))]
    assert train_tagger(texts, encoder, config=TaggerConfig(hidden=8, epochs=1)).cut_spans == 1


def test_a_label_of_which_every_span_lies_in_the_word_of_another_is_warned_of(encoder, caplog):
    spans = (Span(0, 3, "ANIMAL"), Span(3, 6, "SHIP"))
    texts = [*tagged_texts(10), TaggedText("catdog", spans)]
    training = train_tagger(texts, encoder, config=TaggerConfig(hidden=8, epochs=1))
    assert (training.cut_spans, training.lost_spans) == (1, 1)
    assert "1 span lies within a word that another span has" in caplog.text
    assert "can never find SHIP" in caplog.text


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layers": "last"}, "layers must be concatenated or mixed, got 'last'"),
        ({"kernel": 4}, "kernel must be odd, got 4"),
        ({"hidden": 0}, r"hidden must be 1..4096, got 0"),
        ({"dropout": 1.0}, "dropout must be 0 to below 1"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0"),
        ({"epochs": 0}, "epochs must be at least 1"),
    ],
)
def test_a_setting_out_of_range_is_refused(settings, message):
    with pytest.raises(InvalidInput, match=message):
        TaggerConfig(**settings)


def test_few_texts_get_more_epochs():
    assert TaggerConfig(batch_size=10).steps(100) == 140
    assert TaggerConfig(batch_size=10).steps(10_000) == 8000
    assert TaggerConfig(batch_size=10, epochs=2).steps(95) == 20


def test_prediction_imports_neither_torch_nor_scikit_learn(saved):
    script = (
        "import sys\n"
        "from simsearch.heads import Tagger, tag_texts, read_texts\n"
        f"head = Tagger.load({str(saved)!r})\n"
        "((span,),) = tag_texts(head, head.encoder.load(), ['my the cat late'])\n"
        "assert (span.start, span.end, span.label) == (3, 10, 'ANIMAL')\n"
        "print(*{'torch', 'sklearn', 'transformers', 'scipy'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


def test_no_text_has_no_spans(training, encoder):
    assert tag_texts(training.head, encoder, []) == []
    assert training.head.tag([], read_texts(encoder, [])) == []
