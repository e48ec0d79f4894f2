"""query --explain and --rerank: words in bold, reasons, spans, and parts that add up."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import Run, Write

from simsearch.cli.explanation import explanation_fields, highlighted, reasons, strongest
from simsearch.records import Explanation, Hit, TermShare, WordShare

TEXT = "The cat sat on the mat, and my card was swallowed."


def word(text: str, loss: float, *, field: str = "text", of: str = TEXT) -> WordShare:
    start = of.index(text)
    return WordShare(start, start + len(text), field, 0.1, loss, ((0, 4, 0.05), (5, 9, 0.02)))


EXPLANATION = Explanation(
    (
        word("lost", 0.02, field="title", of="lost order"),
        word("cat", -0.01),
        word("card", 0.3),
        word("swallowed", 0.2),
    ),
    rest=0.1,
    exact=True,
)
HIT = Hit("1", 0.5, TEXT, title="lost order", explanation=EXPLANATION)


def test_the_strongest_words_are_those_most_is_lost_without():
    assert [each.loss for each in strongest(HIT, EXPLANATION)] == [0.3, 0.2, 0.02]


def test_a_full_stop_is_no_reason_whatever_is_lost_without_it():
    stop = WordShare(len(TEXT) - 1, len(TEXT), "text", 0.2, 0.4, ((0, 1, 0.3), (2, 6, 0.1)))
    card = WordShare(TEXT.index("card"), TEXT.index("card") + 4, "text", 0.2, 0.3, stop.query)
    found = Explanation((card, stop), 0.0, exact=True)
    hit = replace(HIT, parts={"dense": 0.4}, explanation=found)
    assert [each.loss for each in strongest(hit, found)] == [0.3]
    assert reasons(hit, found, "? card") == ["dense +0.4000  card +0.300 (card)"]
    assert [each["text"] for each in explanation_fields(hit)["spans"]] == ["card", "."]


def test_a_terminal_shows_them_in_bold_and_a_file_between_asterisks():
    plain = "*lost* order: The cat sat on the mat, and my *card* was *swallowed*."
    assert highlighted(HIT, EXPLANATION, bold=False) == plain
    bold = highlighted(HIT, EXPLANATION, bold=True)
    assert bold.replace("\x1b[1m", "*").replace("\x1b[0m", "*") == plain


def test_of_a_long_text_the_part_with_the_strongest_words_is_shown():
    text = "word " * 200 + "card " + "word " * 200
    start = text.index("card")
    found = Explanation((WordShare(start, start + 4, "text", 0.1, 0.3, ()),), 0.0, exact=True)
    shown = highlighted(Hit("1", 0.5, text, explanation=found), found, bold=False)
    assert shown.startswith("…")
    assert shown.endswith("…")
    assert " *card* " in shown
    assert len(shown) < 320


class Start(int):
    """Where a word starts; how often one is compared with another number is counted."""

    compared = 0

    def __lt__(self, other: int) -> bool:
        Start.compared += 1
        return int(self) < int(other)

    def __le__(self, other: int) -> bool:
        Start.compared += 1
        return int(self) <= int(other)


def lexical_hit(text: str, word: str) -> tuple[Hit, Explanation]:
    starts = [at for at in range(len(text)) if text.startswith(word, at)]
    places = tuple(("text", Start(at), at + len(word)) for at in starts)
    found = Explanation(terms=(TermShare(word, 2.0, ((0, len(word)),), places),))
    return Hit("1", 2.0, text, explanation=found), found


def test_of_parts_that_are_worth_the_same_the_first_is_shown():
    parts = [f"part {n} cat cat cat " + "other " * 100 for n in range(7)]
    shown = highlighted(*lexical_hit("before " * 10 + "".join(parts), "cat"), bold=False)
    assert "part 0 *cat* *cat* *cat* other" in shown


def test_twice_as_many_marks_take_twice_the_steps_not_four_times():
    def steps(count: int) -> int:
        before = Start.compared
        highlighted(*lexical_hit("the cat sat. " * count, "cat"), bold=False)
        return Start.compared - before

    assert 0 < steps(400) < 2.5 * steps(200)


def test_nothing_of_a_document_drives_the_terminal():
    text = "\x1b[31mred card"
    found = Explanation((WordShare(9, 13, "text", 0.1, 0.3, ()),), 0.0, exact=True)
    shown = highlighted(Hit("1", 0.5, text, explanation=found), found, bold=False)
    assert shown == "[31mred *card*"


def test_a_reason_is_a_part_of_the_score_with_its_words():
    terms = (
        TermShare("card", 1.5, ((0, 4),), (("text", TEXT.index("card"), TEXT.index("card") + 4),)),
        TermShare("gone", 0.25, ((5, 9),), ()),
    )
    hit = replace(HIT, parts={"dense": 0.4, "lexical": 0.1, "maxsim": 0.25})
    assert reasons(hit, replace(EXPLANATION, terms=terms), "card gone") == [
        "dense   +0.4000  card +0.300 (card, gone); swallowed +0.200 (card, gone); "
        "lost +0.020 (card, gone)",
        "lexical +0.1000  card +1.500 (card); gone +0.250 (gone)",
        "maxsim  +0.2500",
    ]


def test_words_of_the_query_are_marked_too_and_pairs_of_characters_as_one():
    places = (("text", 0, 2), ("text", 1, 3))
    found = Explanation(terms=(TermShare("银行", 2.0, ((0, 2),), places),))
    hit = Hit("1", 2.0, "银行卡被吞了", explanation=found)
    assert highlighted(hit, found, bold=False) == "*银行卡*被吞了"


def test_json_has_half_open_ranges_of_the_original_text():
    found = explanation_fields(HIT)
    assert (found["exact"], found["rest"]) == (True, 0.1)
    spans = [(each["field"], each["text"]) for each in found["spans"]]
    assert spans == [("title", "lost"), ("text", "cat"), ("text", "card"), ("text", "swallowed")]
    card = found["spans"][2]
    assert TEXT[card["start"] : card["end"]] == "card"
    assert card["query"][0] == {"start": 0, "end": 4, "contribution": 0.05}


def test_contributions_and_rest_add_up_to_the_score(run: Run, index_dir: Path) -> None:
    asked = ("query", "my card swallowed", "-i", index_dir, "--explain", "--json")
    outcome = run(*asked)
    assert (outcome.code, outcome.err) == (0, "")
    for hit in outcome.object["hits"]:
        found = hit["explanation"]
        total = sum(each["contribution"] for each in found["spans"]) + found["rest"]
        assert total == pytest.approx(hit["score"], abs=1e-9)
        for each in found["spans"]:
            assert hit[each["field"]][each["start"] : each["end"]] == each["text"]


def test_a_person_sees_highlights_and_reasons(run: Run, index_dir: Path) -> None:
    lines = run("query", "my card swallowed", "-i", index_dir, "--explain").out.splitlines()
    assert len(lines) == 9
    assert all(line.strip().startswith("dense +") for line in lines[2::3])
    assert "\x1b" not in "".join(lines)


def test_the_parts_that_a_person_sees_add_up_to_the_score(run: Run, index_dir: Path) -> None:
    asked = ("query", "my card swallowed", "-i", index_dir, "--mode", "hybrid", "-k", 1)
    first, text, *parts = run(*asked, "--explain", "--rerank", "maxsim").out.splitlines()
    assert [line.split()[0] for line in parts] == ["dense", "lexical", "maxsim"]
    total = sum(float(line.split()[1]) for line in parts)
    assert float(first.split()[1]) == pytest.approx(total, abs=2e-4)
    assert {"*my*", "*card*", "*swallowed*"} <= set(text.split())
    assert "(swallowed)" in parts[1]


@pytest.mark.parametrize("mode", ["lexical", "hybrid"])
def test_json_says_which_words_of_the_query_are_which_words_of_the_hit(
    run: Run, index_dir: Path, mode: str
) -> None:
    asked = ("query", "swallowing cards", "-i", index_dir, "--mode", mode, "-k", 3)
    hits = run(*asked, "--explain", "--json").object["hits"]
    (hit,) = (each for each in hits if each["id"] == "card")
    terms = hit["explanation"]["terms"]
    assert sum(each["contribution"] for each in terms) == pytest.approx(hit["lexical"])
    assert sum(hit["parts"].values()) == pytest.approx(hit["score"])
    found = {each["term"]: (each["query"], each["spans"]) for each in terms}
    start = hit["text"].index("swallowed")
    span = {"field": "text", "start": start, "end": start + 9, "text": "swallowed"}
    assert found["swallowing"] == ([{"start": 0, "end": 10}], [span])
    assert [each["text"] for each in found["cards"][1]] == ["card"]
    assert bool(hit["explanation"]["spans"]) == (mode == "hybrid")


def test_reranked_hits_keep_the_parts_of_their_score(run: Run, index_dir: Path) -> None:
    asked = ("query", "my card", "-i", index_dir, "--json")
    plain = {hit["id"]: hit["score"] for hit in run(*asked).object["hits"]}
    hits = run(*asked, "--rerank", "maxsim").object["hits"]
    for hit in hits:
        assert hit["score"] == pytest.approx(sum(hit["parts"].values()))
        assert hit["parts"]["dense"] == pytest.approx(plain[hit["id"]] / 2, abs=1e-6)
    assert [hit["score"] for hit in hits] == sorted((h["score"] for h in hits), reverse=True)
    assert "maxsim" not in run(*asked).object["hits"][0]["parts"]


def test_only_so_many_are_compared_more_closely(run: Run, index_dir: Path) -> None:
    asked = ("query", "my card", "-i", index_dir, "--json", "-k", 1)
    (nearest,) = run(*asked).object["hits"]
    (same,) = run(*asked, "--rerank", "maxsim", "--rerank-top", 1).object["hits"]
    assert same["id"] == nearest["id"]
    everything = run(*asked[:-2], "--rerank", "maxsim").object["hits"]
    (best,) = run(*asked, "--rerank", "maxsim", "--rerank-top", 3).object["hits"]
    assert best == everything[0]


@pytest.mark.parametrize("options", [(), ("--rerank", "none"), ("--mode", "lexical")])
def test_how_many_to_rerank_is_refused_where_nothing_is_reranked(
    run: Run, index_dir: Path, options: tuple[str, ...]
) -> None:
    asked = ("query", "my card", "-i", index_dir, "--rerank-top", 5, *options)
    assert "name --rerank maxsim or pair" in run(*asked).refusal(2)


def test_an_index_without_a_pair_scorer_says_where_one_comes_from(
    run: Run, index_dir: Path
) -> None:
    message = run("query", "my card", "-i", index_dir, "--rerank", "pair").refusal(7)
    assert "simsearch finetune --objective softmax" in message


def test_reranking_is_measured_on_an_index_and_enough_pairs(
    run: Run, index_dir: Path, write: Write
) -> None:
    rows = [{"anchor": "my card", "positive": "my card was swallowed by the machine"}]
    pairs = write("pairs.jsonl", "\n".join(map(json.dumps, rows)))
    few = run("calibrate", pairs, "-i", index_dir, "--rerank", "maxsim").refusal(3)
    assert "1 query with an answer in the index, at least 10 are needed" in few
    beside = run("calibrate", pairs, "--encoder", "somewhere", "--rerank", "maxsim").refusal(2)
    assert "--rerank is measured on the hits of an index" in beside
