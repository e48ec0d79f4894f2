"""Classes and entities as tasks of a training run: batches, losses, held-out data, heads."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from head_training import labelled_texts, tagged_texts
from training_runs import TinyRun, make_pairs

from simsearch.encoder import Encoder
from simsearch.encoder.layout import read_layout
from simsearch.encoder.tokenization import TokenizedText
from simsearch.errors import EncoderMismatch, InvalidData, InvalidInput
from simsearch.heads import Annotator, TaggerConfig, annotate, load_head
from simsearch.records import ClassifiedText, Document, LabelledText, Span, TaggedText
from simsearch.search_index import RetrievalTask
from simsearch.training import TrainingConfig, TrainingData, finetune
from simsearch.training.batches import Batches, DataSet, word_pieces
from simsearch.training.config import Sampling
from simsearch.training.identity import identity
from simsearch.training.losses import ClassLoss, TagLoss
from simsearch.training.micro_batches import MicroBatches, TokenizedInput, WordPieces
from simsearch.training.objectives import OBJECTIVES, choose_objective
from simsearch.training.plan import make_plan
from simsearch.training.result import read_result
from simsearch.training.trainable import load_trainable

pytestmark = pytest.mark.usefixtures("quick_pictures")

CONFIG = TrainingConfig(epochs=2, batch_size=16, learning_rate=1e-3, precision="fp32")
# How well a tagger learns is tested with heads; here eleven of them are fitted.
TAGGER = TaggerConfig(hidden=32, epochs=3)


def classes(count: int, **settings) -> TrainingData:
    texts = [LabelledText(each.text, each.labels[0]) for each in labelled_texts(count)]
    return TrainingData(texts, name="topics", objective="classes", **settings)


def entities(count: int, **settings) -> TrainingData:
    return TrainingData(
        tagged_texts(count), name="places", objective="tags", head=TAGGER, **settings
    )


@pytest.fixture(scope="module")
def layout(tiny_encoder_dir):
    return read_layout(tiny_encoder_dir)


@pytest.fixture(scope="module")
def model(layout):
    return load_trainable(layout).eval()


def batches_of(layout, examples) -> Batches:
    dataset = DataSet("", examples, OBJECTIVES["tags"])
    return Batches([dataset], batch_size=8, sampling=Sampling.PROPORTIONAL, seed=0, layout=layout)


NOTHING = ClassifiedText("where is it", ())
TEXTS = [
    TaggedText("the cat sat", (Span(0, 7, "ANIMAL"),)),
    TaggedText("my-card was late on the red mat", (Span(12, 16, "TIME"), Span(20, 31, "THING"))),
    TaggedText("where is it", ()),
]


def test_the_loss_of_classes_is_the_cross_entropy_of_the_divided_logits():
    loss = ClassLoss(2, 2, temperature=0.5)
    with torch.no_grad():
        loss.decoder.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
        loss.decoder.bias.copy_(torch.tensor([0.0, 0.5]))
    texts = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    # Logits [2, 1] and [0, 3]: the first text is of class 0, the second of class 1.
    expected = (np.log1p(np.exp(-1.0)) + np.log1p(np.exp(-3.0))) / 2
    assert loss([texts], torch.tensor([0, 1])).item() == pytest.approx(expected, abs=1e-6)


def test_where_several_classes_may_hold_their_cross_entropies_are_summed():
    loss = ClassLoss(2, 2, temperature=0.5)
    with torch.no_grad():
        loss.decoder.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
        loss.decoder.bias.copy_(torch.tensor([0.0, 0.5]))
    texts = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    # Logits [2, 1] and [0, 3]; of the first text both hold, of the second none.
    expected = (np.log1p(np.exp([-2.0, -1.0])).sum() + np.log1p(np.exp([0.0, 3.0])).sum()) / 2
    held = torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    assert loss([texts], held).item() == pytest.approx(expected, abs=1e-6)


def test_a_batch_of_texts_with_several_classes_says_which_hold(layout):
    texts = [ClassifiedText("cat", ("b", "a")), ClassifiedText("dog", ("c",)), NOTHING]
    dataset = DataSet("", texts, OBJECTIVES["classes"])
    batches = Batches(
        [dataset], batch_size=3, sampling=Sampling.PROPORTIONAL, seed=0, layout=layout
    )
    batch = batches.batch((0, (1, 0, 2)))
    assert dataset.classes == ("a", "b", "c")
    assert batch.target.tolist() == [[0.0, 0.0, 1.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]


def test_the_loss_of_tags_is_a_mean_over_all_words_and_0_without_any():
    loss = TagLoss(3, 3)
    with torch.no_grad():
        loss.decoder.weight.copy_(torch.eye(3))
        loss.decoder.bias.zero_()
    words = torch.tensor([[2.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    first, second = np.log(np.exp(2) + 2) - 2, np.log(np.exp(1) + 2)
    assert loss([words], torch.tensor([0, 1])).item() == pytest.approx((first + second) / 2)
    assert loss([words[:0]], torch.tensor([], dtype=torch.int64)).item() == 0


def test_a_batch_of_tagged_texts_has_each_word_with_its_tag(layout):
    batch = batches_of(layout, TEXTS).batch((0, (1, 0, 2)))
    # my - card was late on the red mat | the cat sat | where is it; of labels ANIMAL, THING, TIME.
    tags = [0, 0, 0, 0, 5, 0, 3, 4, 4, 1, 2, 0, 0, 0, 0]
    assert batch.target.tolist() == tags
    assert [text.rows for text in batch.texts] == [9, 3, 3]
    assert batch.columns[0].tolist() == list(range(15))


def test_words_beyond_the_window_are_left_out_of_a_batch(layout):
    words = ["cat"] * 40
    spans = tuple(Span(4 * n, 4 * n + 3, "A") for n in range(40))
    batch = batches_of(layout, [TaggedText(" ".join(words), spans)]).batch((0, (0,)))
    # A window of 32 tokens holds 30 words between the two special tokens.
    assert batch.target.tolist() == [1] * 30


def test_a_text_that_stands_twice_in_a_batch_keeps_both_readings(layout):
    same = [TaggedText("the cat", (Span(4, 7, "A"),)), TaggedText("the cat", ())]
    batch = batches_of(layout, same).batch((0, (0, 1)))
    assert batch.target.tolist() == [0, 1, 0, 0]


def test_words_are_the_mean_of_their_pieces_in_the_last_layer(layout, model):
    batch = batches_of(layout, TEXTS).batch((0, (0, 1, 2)))
    found = MicroBatches(model, budget=12, pad_id=0).embed(batch.texts).numpy()
    ids = torch.tensor([batch.texts[1].ids.tolist()])
    with torch.no_grad():
        tokens = model[0].model(input_ids=ids, attention_mask=torch.ones_like(ids))
    alone = tokens.last_hidden_state[0].numpy()
    # The tokenizer splits at the hyphen too: every word here is one token, after [CLS].
    np.testing.assert_allclose(found[3:12], alone[1:10], atol=1e-5)


def test_a_word_of_several_pieces_is_their_mean_and_one_of_none_is_zero(layout, model):
    ids = batches_of(layout, TEXTS).batch((0, (0,))).texts[0].ids
    pieces = WordPieces(np.array([1, 2, 3]), np.array([0, 0, 1]), 3)
    found = MicroBatches(model, budget=64, pad_id=0).embed([TokenizedInput(ids, words=pieces)])
    given = torch.tensor([ids.tolist()])
    with torch.no_grad():
        tokens = model[0].model(input_ids=given, attention_mask=torch.ones_like(given))
    alone = tokens.last_hidden_state[0].numpy()
    expected = [(alone[1] + alone[2]) / 2, alone[3], np.zeros(32)]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


def test_pieces_are_given_to_the_words_that_they_lie_in():
    # [CLS] pl ##aying chess [SEP], behind a prompt of three characters, cut off after "chess".
    offsets = np.array([[0, 0], [3, 5], [5, 10], [11, 16], [0, 0]])
    text = TokenizedText(np.arange(5), truncated=True, offsets=offsets)
    words = np.array([[0, 7], [8, 13], [14, 18]])  # playing, chess, well
    found = word_pieces(text, words, prompt=3)
    assert found.tokens.tolist() == [1, 2, 3]
    assert found.words.tolist() == [0, 0, 1]
    assert found.count == 2


def test_gradients_of_words_are_those_of_one_graph(layout):
    model = load_trainable(layout).eval()
    batch = batches_of(layout, TEXTS).batch((0, (0, 1, 2)))
    weights = torch.randn(15, 32, generator=torch.Generator().manual_seed(1))
    gradients = []
    for budget, kept in ((10_000, 10_000), (12, 10_000), (12, 0)):
        model.zero_grad()
        micro = MicroBatches(model, budget=budget, pad_id=0, kept_tokens=kept)
        micro.backward(batch.texts, lambda rows: (rows * weights).sum(), seed=0)
        gradients.append(model[0].model.encoder.layer[0].output.dense.weight.grad.clone())
    torch.testing.assert_close(gradients[1], gradients[0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(gradients[2], gradients[0], atol=1e-5, rtol=1e-4)


def test_entities_are_trained_by_tags_and_classes_only_where_they_are_named():
    assert choose_objective("auto", TaggedText).name == "tags"
    assert choose_objective("auto", LabelledText).name == "batch-hard"
    assert choose_objective("classes", LabelledText).name == "classes"


def test_the_weight_of_a_data_set_multiplies_the_step_of_a_gradient_that_was_shortened(
    tiny_encoder_dir, tmp_path
):
    moved = []
    for number, weight in enumerate((1.0, 0.25)):
        run = TinyRun(
            tiny_encoder_dir,
            tmp_path / str(number),
            replace(CONFIG, epochs=1, optimizer="sgd", held_out=0.1),
            data=[classes(17, weight=weight)],
            dev=lambda encoder: 0.0,
        )
        run.training._datasets[0].weight = weight
        before = next(run.model.parameters()).detach().clone()
        log = run.run().log
        assert (len(log), log[0]["gradient_norm"] > 1) == (1, True)
        moved.append(next(run.model.parameters()).detach() - before)
    assert float(moved[0].abs().max()) > 0
    torch.testing.assert_close(moved[1], moved[0] / 4, rtol=1e-3, atol=1e-8)


def test_two_heads_of_one_name_are_refused_before_anything_is_done():
    data = [classes(40), classes(40)]
    with pytest.raises(InvalidInput, match="two heads write to the field 'label'"):
        make_plan(data, None, CONFIG)
    tagger = replace(TAGGER, field="label_probability")
    tags = TrainingData(tagged_texts(40), name="places", objective="tags", head=tagger)
    with pytest.raises(InvalidInput, match="two heads write to the field 'label_probability'"):
        make_plan([classes(40), tags], None, CONFIG)
    plan = make_plan([classes(40), classes(40, field="second")], None, CONFIG)
    assert len(plan.judged) == 2


@pytest.mark.parametrize("weight", [0.0, -1.0, float("inf"), float("nan")])
def test_a_weight_that_is_none_is_refused(weight):
    with pytest.raises(InvalidInput, match="weight must be above 0"):
        make_plan([classes(40, weight=weight)], None, CONFIG)


def test_a_field_without_a_head_is_refused():
    pairs = TrainingData(make_pairs(40), name="pairs", field="topic")
    with pytest.raises(InvalidInput, match="objective in-batch of pairs makes none"):
        make_plan([pairs, classes(40)], None, CONFIG)


def test_patience_has_no_dev_part_of_a_head_to_go_by():
    with pytest.raises(InvalidInput, match="patience goes by the dev part"):
        make_plan([classes(100)], None, replace(CONFIG, patience=2))


def test_evaluation_data_judges_the_first_data_set_and_heads_hold_out_their_own():
    task = RetrievalTask({"q": "my card"}, [Document(id="d", text="the bank")], {"q": {"d": 1}})
    task.queries["r"], task.qrels["r"] = "a cat", {"d": 1}
    plan = make_plan([TrainingData(make_pairs(40), name="pairs"), classes(100)], task, CONFIG)
    assert plan.metric == "ndcg@10"
    assert list(plan.held_outs) == ["", "topics"]
    assert [len(part.held_out) for part in plan.parts] == [0, 20]
    assert plan.judged["topics"].name == "topics"


def test_heads_weigh_less_beside_pairs_and_the_same_beside_each_other():
    pairs = TrainingData(make_pairs(40), name="pairs")
    tags = TrainingData(tagged_texts(40), name="places", objective="tags", head=TAGGER)
    cases = [
        ([pairs, classes(40), tags], [1.0, 0.1, 0.1]),
        ([classes(40), tags], [1.0, 1.0]),
        ([pairs, classes(40, weight=0.5)], [1.0, 0.5]),
        ([replace(pairs, weight=2.0), classes(40, weight=1.0)], [2.0, 1.0]),
    ]
    for data, weights in cases:
        assert [part.weight for part in make_plan(data, None, CONFIG).parts] == weights


def test_a_task_alone_has_the_weight_of_one_that_is_beside_nothing(
    tiny_encoder_dir, tmp_path, monkeypatch
):
    weights = {}

    def refuse(trial, *_, **__):
        (part,) = trial.plan.parts
        weights[part.name] = part.weight
        raise InvalidData("not now")

    monkeypatch.setattr("simsearch.training.alone.run_beside", refuse)
    finetune(
        [TrainingData(make_pairs(40), name="pairs", weight=3.0), classes(100)],
        tmp_path / "model",
        encoder=tiny_encoder_dir,
        config=CONFIG,
        force=True,
    )
    assert weights == {"pairs": 1.0, "topics": 1.0}


def test_another_weight_is_another_run():
    plans = [make_plan([classes(40, weight=weight)], None, CONFIG) for weight in (1.0, 2.0)]
    one, other = (identity(plan, CONFIG, base_fingerprint="x") for plan in plans)
    assert one != other


@pytest.fixture(scope="module")
def joint(tmp_path_factory, tiny_encoder_dir):
    """Pairs, classes and entities train one encoder."""
    output = tmp_path_factory.mktemp("joint") / "model"
    said: list[str] = []
    result = finetune(
        [TrainingData(make_pairs(120), name="pairs"), classes(120), entities(120)],
        output,
        encoder=str(tiny_encoder_dir),
        config=replace(CONFIG, sampling="round-robin"),
        force=True,
        say=said.append,
    )
    return output, result, said


def test_a_joint_run_scores_every_task_before_and_after(joint):
    _, result, _ = joint
    assert {"ndcg@10", "topics: accuracy", "places: span_f1"} <= result.before.keys()
    assert result.before.keys() == result.after.keys()
    assert {"topics: accuracy", "places: span_f1"} <= result.difference.keys()


def test_a_joint_run_leaves_heads_that_belong_to_the_tuned_encoder(joint, tiny_encoder_dir):
    output, result, _ = joint
    assert result.heads == (str(output / "heads/label"), str(output / "heads/entities"))
    heads = [load_head(path) for path in result.heads]
    tuned = heads[0].encoder.load()  # the place that the head names
    assert tuned.fingerprint == Encoder.load(output).fingerprint
    found = next(Annotator(heads, tuned).annotate(["the cat sat on my bank"]))
    assert found.classes.keys() == {"label"}
    assert found.spans.keys() == {"entities"}
    with pytest.raises(EncoderMismatch, match="train the head again"):
        heads[0].encoder.check(Encoder.load(tiny_encoder_dir))


def several(count: int) -> list[ClassifiedText]:
    """Return texts of one topic, of two, and of none, in turn."""
    one, other = labelled_texts(count), labelled_texts(count, seed=1, topics=("phone", "order"))
    return [
        [
            first,
            ClassifiedText(f"{first.text} {second.text}", (*{*first.labels, *second.labels},)),
            ClassifiedText(f"where is it {number}", ()),
        ][number % 3]
        for number, (first, second) in enumerate(zip(one, other, strict=True))
    ]


def test_texts_of_several_classes_train_with_entities_and_leave_a_head(tmp_path, tiny_encoder_dir):
    data = TrainingData(several(240), name="topics", objective="classes", field="topics")
    result = finetune(
        [entities(60), data],
        tmp_path / "model",
        encoder=str(tiny_encoder_dir),
        config=replace(CONFIG, epochs=3, task_controls=False),
        force=True,
    )
    head = load_head(tmp_path / "model/heads/topics")
    assert head.several_labels
    (found,) = head.classify(
        head.encoder.load().encode_documents(["cat dog bird phone screen reset"])
    )
    likeliest = sorted(found.probabilities, key=found.probabilities.__getitem__)[-2:]
    assert set(likeliest) == {"animal", "phone"}
    assert 0 < result.after["topics: accuracy"] < 1


def test_all_classes_of_a_text_have_to_be_found(tiny_encoder_dir):
    texts = several(150)
    plan = make_plan([TrainingData(texts, objective="classes")], None, CONFIG)
    encoder = Encoder.load(tiny_encoder_dir)
    scores = plan.held_out.score(encoder)
    held = plan.parts[0].held_out
    found = scores.head.classify(encoder.encode_documents([each.text for each in held]))
    right = [set(one.labels) == set(each.labels) for one, each in zip(found, held, strict=True)]
    assert scores.units["accuracy"].tolist() == right
    assert scores.metrics["accuracy"] == pytest.approx(np.mean(right))


def test_texts_none_of_which_has_a_class_are_refused():
    texts = [ClassifiedText(f"text {number}", ()) for number in range(20)]
    with pytest.raises(InvalidData, match="none of the 16 training examples has a label"):
        make_plan([TrainingData(texts, objective="classes")], None, CONFIG)


def test_evaluation_data_of_another_kind_than_the_head_is_refused():
    gold = [LabelledText("cat", "animal"), LabelledText("bank", "money")]
    with pytest.raises(InvalidData, match=r"no texts with classes \(text, labels\)"):
        make_plan([TrainingData(several(60), objective="classes")], gold, CONFIG)


def test_a_model_directory_may_move_with_its_heads(joint, tmp_path):
    output, _, _ = joint
    moved = shutil.copytree(output, tmp_path / "elsewhere")  # the old one is another model by now
    (found,) = annotate(["the cat sat on my bank"], [moved / "heads/label"])
    assert found.classes.keys() == {"label"}
    head = load_head(moved / "heads/entities")
    assert head.encoder.name == str(moved)
    assert head.encoder.load().directory == moved
    # A head that goes its own way still knows where its encoder was.
    alone = shutil.copytree(output / "heads/label", tmp_path / "a/b/label")
    assert load_head(alone).encoder.name == str(output.resolve())


def test_a_moved_head_names_the_encoder_where_it_is_now(joint, tmp_path, tiny_encoder_dir):
    output, _, _ = joint
    moved = shutil.copytree(output, tmp_path / "elsewhere")
    head = load_head(moved / "heads/label")
    with pytest.raises(EncoderMismatch, match=re.escape(f"({moved}), got")):
        head.encoder.check(Encoder.load(tiny_encoder_dir))
    head.save(tmp_path / "copy")  # which does not lie beside it any more
    assert load_head(tmp_path / "copy").encoder.name == str(moved)


def test_a_joint_run_compares_each_task_with_the_run_on_it_alone(joint):
    output, result, said = joint
    assert [task.name for task in result.alone] == ["pairs", "topics", "places"]
    names = ("ndcg@10", "topics: accuracy", "places: span_f1")
    for task, name in zip(result.alone, names, strict=True):
        metric = name.rpartition(" ")[2]
        gained = result.after[name] - task.metrics[metric]
        assert task.difference[metric].value == pytest.approx(gained, abs=1e-9)
    assert any("training on each task alone" in line for line in said)
    assert "## Each task before, alone and jointly" in (output / "run/report.md").read_text()
    assert not (output.parent / "model.training").exists()


def test_what_a_joint_run_found_is_read_again_as_it_was(joint):
    output, result, _ = joint
    assert read_result(output / "run") == result
    assert json.loads((output / "run/result.json").read_text())["alone"][1]["name"] == "topics"


def test_probabilities_of_a_kept_head_are_calibrated_on_the_held_out_texts(tiny_encoder_dir):
    # Every fourth text has the class of another one: nobody can be certain.
    texts = [LabelledText(each.text, each.labels[0]) for each in labelled_texts(160)]
    noisy = [
        replace(each, label=texts[-row].label) if row % 4 == 1 else each
        for row, each in enumerate(texts)
    ]
    plan = make_plan([TrainingData(noisy, objective="classes")], None, CONFIG)
    held_out = plan.held_out
    encoder = Encoder.load(tiny_encoder_dir)
    head = held_out.score(encoder).head
    texts = [each.text for each in plan.parts[0].held_out]
    logits = head.logits(encoder.encode_documents(texts)).astype(np.float64)
    gold = [head.labels.index(each.label) for each in plan.parts[0].held_out]

    # Of n texts the right class counts (n + 1) / (n + 2), the others share the rest.
    doubt = 1 / (len(gold) + 2)
    wanted = np.full(logits.shape, doubt / (logits.shape[1] - 1))
    wanted[np.arange(len(gold)), gold] = 1 - doubt

    def loss(factor):
        scaled = logits * factor
        total = np.log(np.exp(scaled - scaled.max(1, keepdims=True)).sum(1)) + scaled.max(1)
        return float((total - (wanted * scaled).sum(1)).mean())

    assert loss(1.0) <= min(loss(0.99), loss(1.01))


def test_a_run_that_was_cut_short_in_a_task_alone_is_resumed_there(tmp_path, tiny_encoder_dir):
    data = [classes(40), entities(30)]
    options = {
        "encoder": str(tiny_encoder_dir),
        "config": replace(CONFIG, epochs=1, checkpoint_minutes=1e-9),
        "force": True,
    }
    whole = finetune(data, tmp_path / "whole", **options)

    def interrupt(stage: str, done: int, total: int) -> None:
        if stage == "train (places alone)" and done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finetune(data, tmp_path / "cut", progress=interrupt, **options)
    stages: list[str] = []
    resumed = finetune(
        data,
        tmp_path / "cut",
        resume=True,
        progress=lambda stage, done, total: stages.append(stage),
        **options,
    )
    assert (resumed.before, resumed.after) == (whole.before, whole.after)
    assert [task.metrics for task in resumed.alone] == [task.metrics for task in whole.alone]
    assert "train" not in stages  # the joint run was done


def test_a_rejected_joint_run_leaves_no_heads(tmp_path, tiny_encoder_dir):
    result = finetune(
        classes(60),
        tmp_path / "model",
        encoder=str(tiny_encoder_dir),
        config=replace(CONFIG, epochs=1, learning_rate=1e-9),
    )
    assert not result.kept
    assert result.heads == ()
    assert sorted(each.name for each in (tmp_path / "model").iterdir()) == ["run"]
