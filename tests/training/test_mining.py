"""Hard negatives of a run: mined once, drawn upon epoch by epoch."""

import json
from dataclasses import replace

import numpy as np
from conftest import HashEncoder
from training_runs import make_pairs

from simsearch.training import TrainingConfig, TrainingData
from simsearch.training.batches import DataSet
from simsearch.training.mining import Miner
from simsearch.training.plan import make_plan
from simsearch.training.workers import Workers

CONFIG = TrainingConfig(epochs=3, negatives=2, negatives_margin=0.0, held_out=0.1)


class Unexpected:
    """An encoder that nobody may ask."""


def mined(folder, config, pairs, epochs, base=None):
    """Return the negatives of each training pair in each of these epochs."""
    plan = make_plan([TrainingData(pairs)], None, config)
    datasets = [DataSet(part.name, part.training, part.objective) for part in plan.parts]
    miner = Miner(
        plan.parts,
        datasets,
        config,
        epochs=plan.numbers.epochs,
        base=base or HashEncoder(),
        directory=folder,
        workers=Workers(),
        say=lambda _: None,
    )
    found = []
    for epoch in epochs:
        miner(epoch, Unexpected())
        found.append([tuple(own) for own in datasets[0].negatives])
    return found


def test_each_epoch_takes_negatives_that_no_other_has_had(tmp_path):
    first, second, third = mined(tmp_path, CONFIG, make_pairs(60), range(3))
    assert len(first) == len(second) == len(third) > 40
    for own in zip(first, second, third, strict=True):
        assert [len(each) for each in own] == [2, 2, 2]
        assert len(set().union(*own)) == 6


def test_an_epoch_that_goes_on_after_a_kill_finds_the_same_again(tmp_path):
    expected = mined(tmp_path, CONFIG, make_pairs(60), range(3))
    assert mined(tmp_path, CONFIG, make_pairs(60), [1, 2], base=Unexpected()) == expected[1:]


def test_where_there_are_too_few_they_come_round_again(tmp_path):
    config = replace(CONFIG, negatives_window=3, epochs=2)
    first, second = mined(tmp_path, config, make_pairs(60), range(2))
    assert [set(own) for own in first] == [set(own) for own in second]
    assert max(map(len, first)) == 2  # of a window of three one is the positive
    assert sum(len(own) != len(set(own)) for own in first) == 0


def test_a_text_is_written_down_once(tmp_path):
    mined(tmp_path, CONFIG, make_pairs(60), [0])
    content = json.loads((tmp_path / "negatives-0000.json").read_text(encoding="utf-8"))
    assert len(content["texts"]) == len(set(content["texts"]))
    rows = np.concatenate([np.ravel(own) for own in content["negatives"][0]])
    assert sorted(set(rows.astype(int).tolist())) == list(range(len(content["texts"])))
