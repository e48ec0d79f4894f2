"""Every named place x kill, raise, EIO, ENOSPC: what is found afterwards is the old or the new."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
from pathlib import Path

import pytest
from conftest import HashEncoder, OtherHashEncoder
from scenarios import SCENARIOS, encoder_of, of_these_bytes, prepare, state

import simsearch
from simsearch import failpoints
from simsearch.errors import SimsearchError
from simsearch.records import Document
from simsearch.search_index import (
    SearchIndex,
    build_generation,
    build_index,
    check_index,
    roll_back,
    write_corpus,
)
from simsearch.storage import Severity

SOURCES = Path(simsearch.__file__).parent.rglob("*.py")
CALL = re.compile(r'failpoint\("([a-z.-]+)"\)')
NAMES = sorted({name for source in SOURCES for name in CALL.findall(source.read_text("utf-8"))})


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    place = tmp_path_factory.mktemp("prepared")
    prepare(place)
    return place


@pytest.fixture
def place(prepared, tmp_path):
    return shutil.copytree(prepared, tmp_path / "place")


@pytest.fixture(scope="module")
def passed(prepared, tmp_path_factory):
    """Return, for each name, the first scenario that passes it, and what that leaves."""
    found = {}
    for scenario, run in SCENARIOS.items():
        place = shutil.copytree(prepared, tmp_path_factory.mktemp(scenario) / "place")
        plan = failpoints.parse_plan("nowhere:raise")
        failpoints.arm(plan)
        try:
            run(place)
        finally:
            failpoints.arm(None)
        after = state(place)
        for name in plan.passed:
            found.setdefault(name, (scenario, after))
    return found


def test_there_are_at_least_40_names_and_each_is_passed(passed):
    assert len(NAMES) >= 40
    assert sorted(passed) == NAMES


def inject(run, place, name, fault):
    plan = failpoints.parse_plan(f"{name}:{fault}")
    failpoints.arm(plan)
    try:
        # An error is the usual end; some places may not fail a call that is safe already.
        with contextlib.suppress(SimsearchError, OSError, failpoints.InjectedFault):
            run(place)
    finally:
        failpoints.arm(None)
    assert plan.passed.count(name) >= 1


def kill(run, place, name, fault):
    child = os.fork()
    if not child:  # pragma: no cover - killed
        try:
            failpoints.arm(failpoints.parse_plan(f"{name}:{fault}"))
            run(place)
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def checked(path):
    return check_index(path, encoder=encoder_of(path))


FAULTS = {"kill": kill, "raise": inject, "eio": inject, "enospc": inject}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", NAMES)
def test_after_a_fault_there_is_the_old_or_the_new_and_the_same_command_ends(
    place, prepared, passed, name, fault
):
    scenario, after = passed[name]
    before = state(place)
    FAULTS[fault](SCENARIOS[scenario], place, name, fault)
    found = state(place)
    for index in before:
        assert found[index] in (before[index], after[index], "unfinished"), index
    for index in ("i", "two", "new"):
        if_there = [place / index][: found[index] is not None]
        for path in if_there:
            report = of_these_bytes(checked, path)
            assert report.worst in (None, Severity.NOTE), report.findings
    SCENARIOS[scenario](place)
    assert state(place) == after


def test_a_killed_load_is_taken_up_without_encoding_again(tmp_path):
    corpus = [Document(f"d{n}", f"text number {n}") for n in range(3000)]

    def load(place):
        encoder = HashEncoder()
        with build_index(place / "i", encoder=encoder, replace=False) as index:
            write_corpus(index.upsert, corpus, total=len(corpus))
        return encoder.encoded

    kill(load, tmp_path, "transaction.commit@3", "kill")
    assert len(load(tmp_path)) == 3000 - 2 * 1024
    with SearchIndex.open(tmp_path / "i", encoder=HashEncoder()) as index:
        assert (len(index), index.finished) == (3000, True)


def test_a_killed_reindex_is_taken_up_without_encoding_again(tmp_path):
    with SearchIndex.create(tmp_path / "i", encoder=HashEncoder()) as index:
        index.add([Document(f"d{n}", f"text number {n}") for n in range(3000)])

    def reindex(place):
        encoder = OtherHashEncoder()
        with build_generation(place / "i", encoder=encoder):
            pass
        return encoder.encoded

    kill(reindex, tmp_path, "transaction.commit@3", "kill")
    assert len(reindex(tmp_path)) == 3000 - 2 * 1024
    with SearchIndex.open(tmp_path / "i", encoder=OtherHashEncoder()) as index:
        assert (len(index), index.finished) == (3000, True)


def test_a_switch_that_was_killed_before_its_last_step_is_rolled_back_whole(place):
    kill(SCENARIOS["reindex"], place, "generation.keep", "kill")
    with SearchIndex.open(place / "i", encoder=OtherHashEncoder()) as index:
        info = index.info()
        assert (info.generation, info.previous.generation, info.building) == (2, 1, None)
        index.add([Document("since", "written since")])
    roll_back(place / "i", encoder=HashEncoder())
    assert state(place)["i"][1][-1][0] == "since"
    assert sorted(place.glob(".i.*")) == []


def test_a_plan_of_another_form_is_refused():
    for text in ("", "name", "name:boom", "name@0:eio", "name@x:eio", ":eio"):
        with pytest.raises(ValueError, match="SIMSEARCH_FAILPOINT must be"):
            failpoints.parse_plan(text)


def test_the_nth_passing_is_met():
    plan = failpoints.parse_plan("here@2:eio")
    plan.meet("here")
    plan.meet("there")
    with pytest.raises(OSError, match="Input/output error"):
        plan.meet("here")
    plan.meet("here")
