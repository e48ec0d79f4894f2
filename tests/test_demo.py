from __future__ import annotations

import json
import os.path

import pytest

from simsearch.cli import main
from simsearch.demo import Definition, demo_documents, demo_pairs, sample, standard_library


@pytest.fixture(scope="module")
def definitions():
    return standard_library()


def named(definitions, name):
    (found,) = [definition for definition in definitions if definition.name == name]
    return found


def test_the_standard_library_has_thousands_of_docstrings(definitions):
    names = [definition.name for definition in definitions]
    assert len(names) == len(set(names)) > 4000
    assert names == sorted(names)


def test_docstrings_are_those_that_python_shows(definitions):
    import inspect
    import textwrap

    assert named(definitions, "textwrap.dedent").docstring == inspect.getdoc(textwrap.dedent)
    assert named(definitions, "str.split").docstring == inspect.getdoc(str.split)
    assert named(definitions, "posixpath.join").docstring == inspect.getdoc(os.path.join)
    assert "json" in {definition.name for definition in definitions}


def test_tests_and_private_names_are_left_out(definitions):
    names = {definition.name for definition in definitions}
    assert not any(name.startswith(("test.", "idlelib.", "site-packages")) for name in names)
    assert "textwrap.TextWrapper" in names
    assert "textwrap.TextWrapper._wrap_chunks" not in names  # which has a docstring


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("os.path.join", "os path join"),
        ("unittest.TestCase.assertIn", "unittest Test Case assert In"),
        ("email.message_from_string", "email message from string"),
    ],
)
def test_a_name_is_given_in_words(name, words):
    assert Definition(name, "").words == words


def test_a_pair_is_the_first_paragraph_and_all_that_follows():
    rest = "It goes on for a while,\nso that there is\n\nsomething to learn from."
    definition = Definition("os.path.join", f"Join two\npath components.\n\n{rest}")
    (pair,) = demo_pairs([definition])
    assert pair.anchor == "Join two path components."
    assert pair.positive == "os path join " + " ".join(rest.split())
    assert demo_pairs([definition, Definition("other.join", definition.docstring)]) == [pair]
    assert demo_pairs([Definition("x", "Only a first paragraph, and nothing after it.")]) == []


def test_there_are_enough_pairs_with_one_answer_each(definitions):
    pairs = demo_pairs(definitions)
    assert len(pairs) > 1500
    assert (
        len({pair.anchor for pair in pairs}) == len({pair.positive for pair in pairs}) == len(pairs)
    )


def test_documents_are_fit_for_an_index(definitions):
    from simsearch.formats import check_document

    for document in demo_documents(definitions):
        check_document(document, where=document.id)


def test_a_sample_keeps_the_order_and_its_seed(definitions):
    drawn = sample(definitions, 100, seed=1)
    assert len(drawn) == 100
    assert drawn == sorted(drawn, key=lambda definition: definition.name)
    assert drawn == sample(definitions, 100, seed=1)
    assert sample(definitions[:5], 100, seed=1) == definitions[:5]


@pytest.mark.slow
def test_the_quick_demo_keeps_its_model_and_answers(tmp_path, capsys):
    assert main(["demo", "--quick", "--out", str(tmp_path), "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    result = json.loads(line)
    assert result["verdict"] == "keep"
    assert result["after"]["mrr@10"] > result["before"]["mrr@10"]
    assert result["documents"] == 2000
    assert len(result["answers"]) == 5
    assert all(len(answer["hits"]) == 3 for answer in result["answers"])
    assert "verdict: keep" in (tmp_path / "report.md").read_text()
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")
    assert (
        main(["query", "join two paths", "-i", str(tmp_path / "indexes" / "demo"), "--json"]) == 0
    )
    assert len(json.loads(capsys.readouterr().out)["hits"]) == 10
    assert main(["info", str(tmp_path / "indexes" / "demo"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["encoder"] == str(tmp_path / "models" / "demo")
