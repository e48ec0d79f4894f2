"""Catalogue, rows 1-30, 32-36 and 44: files and rows that are broken, hostile or merely odd."""

from __future__ import annotations

import errno
import gzip
import io
import json
import os
import signal
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import DOCUMENTS, FillStdin, Refuse, Run, Write, contents, stored

import simsearch.formats.lines
from simsearch.cli.input import CorpusSource
from simsearch.errors import InvalidData
from simsearch.formats import read_documents


def jsonl(*rows: object) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.mark.parametrize("name", ["empty.jsonl", "empty.csv", "empty"])
def test_row_01_an_empty_file_adds_nothing(refuse: Refuse, write: Write, name: str) -> None:
    path = write(name, "")
    assert refuse(path) == f"{path} is empty"


def test_row_01_an_empty_file_makes_no_index(
    run: Run, write: Write, tmp_path: Path, tiny_encoder_dir: Path
) -> None:
    path = write("empty.jsonl", "")
    outcome = run("index", path, "-i", tmp_path / "new", "--encoder", tiny_encoder_dir)
    assert outcome.refusal(3) == f"{path} is empty"
    assert sorted(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("blank.jsonl", "\n\n  \n", "holds 0 data rows"),
        ("blank.csv", "\n\n", "holds 0 data rows"),
        ("header.csv", "id,text\n", "holds 0 data rows, only a header"),
    ],
)
def test_row_02_blank_lines_or_a_header_alone_are_0_data_rows(
    refuse: Refuse, write: Write, name: str, content: str, message: str
) -> None:
    path = write(name, content)
    assert refuse(path) == f"{path} {message}"


def test_row_03_a_missing_file_is_named(refuse: Refuse, tmp_path: Path) -> None:
    path = tmp_path / "nowhere.jsonl"
    assert refuse(path, code=2) == f"{path}: no such file"


def test_row_03_a_directory_says_to_name_the_files_in_it(refuse: Refuse, tmp_path: Path) -> None:
    path = tmp_path / "folder"
    path.mkdir()
    assert refuse(path, code=2) == f"{path}: is a directory (name the files in it)"


def test_row_03_a_fifo_is_refused_instead_of_waited_for(refuse: Refuse, tmp_path: Path) -> None:
    path = tmp_path / "pipe.jsonl"
    os.mkfifo(path)
    assert refuse(path, code=2) == f"{path}: is a FIFO, not a file (use - for stdin)"


def test_row_03_a_device_is_refused(refuse: Refuse) -> None:
    assert refuse("/dev/zero", code=2) == "/dev/zero: is a device, not a file (use - for stdin)"


def test_row_04_a_file_that_may_not_be_read_is_named_with_the_reason(
    refuse: Refuse, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write("secret.jsonl", jsonl({"text": "my card"}))

    # Tests may run as root, who may read a file of mode 000; so the system call is played.
    def denied(file: Path, mode: str) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(file))

    monkeypatch.setattr(simsearch.formats.lines, "open", denied, raising=False)
    assert refuse(path, code=6) == f"{path}: Permission denied"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("mark.csv", "\ufeffid,text\nnew,my card\n"),
        ("mark.jsonl", '\ufeff{"id":"new","text":"my card"}\n'),
    ],
)
def test_row_05_a_byte_order_mark_is_no_part_of_the_first_name(
    run: Run, write: Write, index_dir: Path, name: str, content: str
) -> None:
    outcome = run("add", write(name, content), "-i", index_dir)
    assert (outcome.code, outcome.err) == (0, "")
    assert stored(index_dir)["new"].text == "my card"
    assert stored(index_dir)["new"].metadata == {}


def test_row_06_utf16_is_recognised_and_read_once_it_is_named(
    refuse: Refuse, run: Run, write: Write, index_dir: Path
) -> None:
    path = write("wide.csv", "id,text\nnew,my card\n".encode("utf-16"))
    assert refuse(path) == f"{path}: looks like UTF-16 (use --encoding utf-16)"
    assert run("add", path, "-i", index_dir, "--encoding", "utf-16").code == 0
    assert stored(index_dir)["new"].text == "my card"


def test_row_07_latin1_byte_names_line_offset_and_value(refuse: Refuse, write: Write) -> None:
    path = write("latin.csv", b"id,text\n1,my card\n2,caf\xe9 card\n")
    assert refuse(path) == (
        f"{path}:3: byte 0xe9 at offset 23 is not utf-8 (use --encoding, e.g. latin-1)"
    )


def long_corpus() -> bytes:
    return jsonl(*({"id": f"new-{n}", "text": f"my card {n * 7919}"} for n in range(5000))).encode()


def test_row_08_truncated_gzip_rejects_the_whole_batch(refuse: Refuse, write: Write) -> None:
    whole = gzip.compress(long_corpus())
    path = write("cut.jsonl.gz", whole[: len(whole) * 3 // 4])
    message = refuse(path)
    assert message.startswith(f"{path}: compressed data ends early after ")
    lines = int(message.removesuffix(" lines").rpartition(" ")[2])
    assert 2000 < lines < 5000


def test_row_09_gzip_with_a_wrong_checksum_rejects_the_whole_batch(
    refuse: Refuse, write: Write
) -> None:
    whole = bytearray(gzip.compress(long_corpus()))
    whole[-8] ^= 1  # of the CRC32, which with the length ends the file
    path = write("wrong.jsonl.gz", bytes(whole))
    message = refuse(path)
    assert message.startswith(f"{path}: compressed data is damaged after ")
    assert message.endswith(" lines (Error -3 while decompressing data: incorrect data check)")


def test_row_10_a_decompression_bomb_names_the_limit(refuse: Refuse, write: Write) -> None:
    path = write("bomb.jsonl.gz", gzip.compress(b" " * (20 << 20)))
    assert refuse(path) == (
        f"{path}: compressed data grows more than 100 times (--max-expansion sets the limit)"
    )


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.jsonl",
            "id,text\n1,my card\n",
            ":1: not a JSON object; looks like CSV (rename it to .csv)",
        ),
        ("a.csv", '{"text":"my card"}\n', ":1: not CSV; looks like JSONL (rename it to .jsonl)"),
        (
            "a.jsonl",
            b"\x93NUMPY\x01\x00",
            ": looks like a numpy array, not JSONL or CSV (it holds vectors, not texts)",
        ),
        (
            "a.json",
            '[{"text":"my card"}]\n',
            ":1: is a JSON array; one object per line is expected (jq -c '.[]' converts it)",
        ),
    ],
)
def test_row_11_a_wrong_extension_says_what_the_file_looks_like(
    refuse: Refuse, write: Write, name: str, content: str | bytes, message: str
) -> None:
    path = write(name, content)
    assert refuse(path) == f"{path}{message}"


def test_row_12_a_missing_text_column_lists_the_columns_and_the_nearest(
    refuse: Refuse, write: Write
) -> None:
    path = write("a.csv", "id,Texte,lang\n1,my card,en\n")
    assert refuse(path) == (
        f"{path}:1: no field 'text'; found 'id', 'Texte', 'lang' "
        "(did you mean 'Texte'?, use --text-field to name the field)"
    )


@pytest.mark.parametrize(("row", "got"), [("2,b,c", 3), ("2,b,c,d,e", 5)])
def test_row_13_a_row_with_too_few_or_many_fields_is_counted(
    refuse: Refuse, write: Write, row: str, got: int
) -> None:
    path = write("a.csv", f"id,text,lang,year\n1,my card,en,2020\n{row}\n")
    assert refuse(path) == f"{path}:3: expected 4 fields, got {got}"


def test_row_14_an_unclosed_quote_is_reported_where_it_opens(refuse: Refuse, write: Write) -> None:
    rest = "".join(f"{n},my card\n" for n in range(10, 30))
    path = write("a.csv", f'id,text\n1,my card\n2,"the cat\n{rest}')
    assert refuse(path) == f"{path}:3: a quote is opened and not closed (the file ends inside it)"


def test_row_14_an_unclosed_quote_does_not_swallow_a_long_file(
    refuse: Refuse, write: Write
) -> None:
    rest = "".join(f"{n},my card\n" for n in range(10, 3000))
    path = write("a.csv", f'id,text\n2,"the cat\n{rest}')
    message = f"{path}:2: a quote is opened and not closed (a record has more than 1000 lines)"
    assert refuse(path) == message


def test_row_15_a_field_over_the_limit_names_the_option(
    refuse: Refuse, run: Run, write: Write, index_dir: Path
) -> None:
    path = write("a.csv", f"id,text\n1,{'card ' * 220_000}\n")
    message = f"{path}:2: longer than 1048576 characters (--max-record sets the limit)"
    assert refuse(path) == message
    assert run("add", path, "-i", index_dir, "--max-record", 2_000_000).code == 0


def test_row_15_a_field_over_the_limit_of_the_csv_module_is_read(
    run: Run, write: Write, index_dir: Path
) -> None:
    text = "card " * 30_000  # 150,000 characters; the module's own limit is 131,072
    assert run("add", write("a.csv", f"id,text\nlong,{text}\n"), "-i", index_dir).code == 0
    assert stored(index_dir)["long"].text == text


def test_row_16_duplicate_header_names_are_named_with_both_positions(
    refuse: Refuse, write: Write
) -> None:
    path = write("a.csv", "id,text,lang,text\n1,my card,en,x\n")
    assert refuse(path) == f"{path}:1: field 'text' stands in columns 2 and 4"


@pytest.mark.parametrize(("delimiter", "option"), [(";", "';'"), ("\t", "tab"), ("|", "'|'")])
def test_row_17_another_delimiter_is_refused_and_suggested(
    refuse: Refuse, run: Run, write: Write, index_dir: Path, delimiter: str, option: str
) -> None:
    path = write("a.csv", f"id{delimiter}text\nnew{delimiter}my card\n")
    header = f"id{delimiter}text"
    assert refuse(path) == f"{path}:1: one field only, {header!r} (use --delimiter {option})"
    assert run("add", path, "-i", index_dir, "--delimiter", option.strip("'")).code == 0
    assert stored(index_dir)["new"].text == "my card"


ODD_LINE_ENDS = "my\u2028card\x85was\x0blate\x0cand\x1clost"


def test_row_18_only_newlines_end_a_line_of_jsonl(run: Run, write: Write, index_dir: Path) -> None:
    row = json.dumps({"id": "new", "text": f"{ODD_LINE_ENDS}\ragain"}, ensure_ascii=False)
    path = write("a.jsonl", f'{row}\r\n{{"id":"other","text":"cat"}}\n')
    assert run("add", path, "-i", index_dir).code == 0
    assert stored(index_dir)["new"].text == f"{ODD_LINE_ENDS}\ragain"
    assert len(stored(index_dir)) == len(DOCUMENTS) + 2


def test_row_18_only_newlines_end_a_record_of_csv(run: Run, write: Write, index_dir: Path) -> None:
    text = f"{ODD_LINE_ENDS}\r\ragain\r\nand\nagain"
    path = write("a.csv", f'id,text\r\nnew,"{text}"\r\n')
    assert run("add", path, "-i", index_dir).code == 0
    assert stored(index_dir)["new"].text == text


def test_row_19_a_line_of_10_mb_is_refused_before_it_is_read_whole(
    refuse: Refuse, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write("a.jsonl", jsonl({"text": "my card"}, {"text": "card " * 2_000_000}))
    taken: list[int] = []

    class Counted(io.FileIO):
        def read(self, size: int | None = -1) -> bytes | None:
            content = super().read(size)
            taken.append(len(content or b""))
            return content

    monkeypatch.setattr(simsearch.formats.lines, "open", Counted, raising=False)
    message = f"{path}:2: longer than 1048576 characters (--max-record sets the limit)"
    assert refuse(path) == message
    assert 1_048_576 < sum(taken) < 1_100_000


def test_row_20_a_broken_line_is_named_with_its_column(refuse: Refuse, write: Write) -> None:
    rows = [json.dumps({"id": f"new-{n}", "text": "my card"}) for n in range(5000)]
    rows[4710] = '{"id": "new-4710", "text" "my card"}'
    path = write("a.jsonl", "\n".join(rows))
    assert refuse(path) == f"{path}:4711:27: not valid JSON: expecting ':' delimiter"


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_row_21_json_nested_100000_deep_is_refused(
    refuse: Refuse, write: Write, opening: str
) -> None:
    path = write("a.jsonl", f'{{"id":"new","text":"my card","deep":{opening * 100_000}')
    assert refuse(path) == f"{path}:1: nested deeper than 64 levels"


@pytest.mark.parametrize(
    ("number", "message"),
    [
        ("NaN", "NaN is not JSON (write null, or leave the field out)"),
        ("Infinity", "Infinity is not JSON (write null, or leave the field out)"),
        ("-Infinity", "-Infinity is not JSON (write null, or leave the field out)"),
        ("1e999", "number out of range: '1e999' (double precision at most)"),
    ],
)
def test_row_22_what_is_no_json_number_is_refused(
    refuse: Refuse, write: Write, number: str, message: str
) -> None:
    path = write("a.jsonl", f'{{"id":"new","text":"my card","stars":{number}}}\n')
    assert refuse(path) == f"{path}:1: {message}"


def test_row_23_duplicate_json_keys_are_refused(refuse: Refuse, write: Write) -> None:
    path = write("a.jsonl", '{"id":"new","text":"my card","id":"other"}\n')
    assert refuse(path) == f"{path}:1: key 'id' stands twice in one object"


@pytest.mark.parametrize("number", ["9" * 5000, "9223372036854775808", "-9223372036854775809"])
def test_row_24_an_integer_out_of_range_is_refused(
    refuse: Refuse, write: Write, number: str
) -> None:
    path = write("a.jsonl", f'{{"id":"new","text":"my card","stars":{number}}}\n')
    message = refuse(path)
    assert message.startswith(f"{path}:1: number out of range: '{number[:15]}")
    assert message.endswith(" (64 bits at most)")


SURROGATE = '{"id":"bad","text":"card \\ud800"}\n'


def test_row_25_a_lone_surrogate_is_named_with_code_point_and_column(
    refuse: Refuse, write: Write
) -> None:
    path = write("a.jsonl", jsonl({"id": "new", "text": "my card"}) + SURROGATE)
    assert refuse(path) == f"{path}:2: field 'text' has the lone surrogate U+D800 at column 6"


def test_row_25_the_rest_of_the_batch_goes_by_the_policy(
    run: Run, write: Write, index_dir: Path
) -> None:
    path = write("a.jsonl", SURROGATE + jsonl({"id": "new", "text": "my card"}))
    outcome = run("add", path, "-i", index_dir, "--on-error", "skip")
    assert outcome.code == 1
    assert stored(index_dir).keys() == {"card", "parcel", "cat", "new"}


def test_row_26_nul_is_refused_unless_its_replacement_is_asked_for(
    refuse: Refuse, run: Run, write: Write, index_dir: Path
) -> None:
    path = write("a.jsonl", '{"id":"new","text":"my\\u0000card"}\n')
    assert refuse(path) == (
        f"{path}:1: field 'text' has a NUL character at column 3 "
        "(--replace-invalid puts U+FFFD in its place)"
    )
    assert run("add", path, "-i", index_dir, "--replace-invalid").code == 0
    assert stored(index_dir)["new"].text == "my\ufffdcard"


HOSTILE = "\x1b[31mcard\x1b[0m \x9b2J \x07 \u202elost"


def test_row_27_control_sequences_are_stored_as_they_are(
    run: Run, write: Write, index_dir: Path
) -> None:
    row = {"id": "new", "text": HOSTILE, "title": HOSTILE, "note": HOSTILE}
    assert run("add", write("a.jsonl", jsonl(row)), "-i", index_dir).code == 0
    document = stored(index_dir)["new"]
    assert (document.text, document.title, document.metadata) == (
        HOSTILE,
        HOSTILE,
        {"note": HOSTILE},
    )


@pytest.mark.parametrize("command", [("get", "new"), ("query", "card")])
def test_row_27_control_sequences_do_not_reach_the_terminal(
    run: Run, write: Write, index_dir: Path, command: tuple[str, str]
) -> None:
    row = {"id": "new", "text": HOSTILE, "title": HOSTILE, "note": HOSTILE}
    run("add", write("a.jsonl", jsonl(row)), "-i", index_dir)
    outcome = run(*command, "-i", index_dir)
    assert outcome.code == 0
    assert "[31mcard[0m 2J" in outcome.out
    assert not {"\x1b", "\x9b", "\x07", "\u202e"} & set(outcome.out)


@pytest.mark.parametrize(
    ("value", "kind"),
    [("null", "null"), ("7", "number"), ("[]", "list"), ("true", "boolean"), ("{}", "object")],
)
def test_row_28_a_text_that_is_no_string_is_not_made_one(
    refuse: Refuse, write: Write, value: str, kind: str
) -> None:
    path = write("a.jsonl", f'{{"text":"my card"}}\n{{"text":{value}}}\n')
    assert refuse(path) == f"{path}:2: field 'text' must be a string, got {kind}"


@pytest.mark.parametrize("text", ["", " \\t\\n", "\\u3000\\u2003"])
def test_row_29_an_empty_text_is_refused(refuse: Refuse, write: Write, text: str) -> None:
    path = write("a.jsonl", f'{{"text":"my card"}}\n{{"text":"{text}","title":""}}\n')
    message = f"{path}:2: the document is empty (its title and text are blank)"
    assert refuse(path) == message


@pytest.fixture
def beir_dir(write: Write) -> Path:
    write("beir/queries.jsonl", jsonl({"_id": "q1", "text": "my card"}))
    write("beir/qrels/test.tsv", "query-id\tcorpus-id\tscore\nq1\td1\t1\n")
    rows = [
        {"_id": "d1", "title": "", "text": "my card was lost"},
        {"_id": "d2", "title": " ", "text": ""},
        {"_id": "d3", "title": "a cat", "text": ""},
    ]
    return write("beir/corpus.jsonl", jsonl(*rows)).parent


def test_row_29_blank_documents_of_a_beir_folder_are_skipped_and_counted(
    run: Run, beir_dir: Path, index_dir: Path
) -> None:
    outcome = run("add", beir_dir, "-i", index_dir)
    assert (outcome.code, outcome.err) == (0, "1 blank documents skipped\n")
    assert stored(index_dir).keys() == {"card", "parcel", "cat", "d1", "d3"}


def test_row_29_other_bad_rows_of_a_beir_folder_go_by_the_policy(
    refuse: Refuse, run: Run, beir_dir: Path, index_dir: Path
) -> None:
    corpus = beir_dir / "corpus.jsonl"
    corpus.write_text(corpus.read_text() + '{"_id":4,"text":"cat"}\n')
    message = f"{corpus}:4: field '_id' must be a string, got number (write it as \"4\")"
    assert refuse(beir_dir) == message
    outcome = run("add", beir_dir, "-i", index_dir, "--on-error", "skip")
    assert outcome.code == 1
    assert "1 blank documents skipped\n" in outcome.err
    assert stored(index_dir).keys() == {"card", "parcel", "cat", "d1", "d3"}
    (reject,) = (index_dir.parent / "support.rejects.jsonl").read_text().splitlines()
    assert json.loads(reject) == {"error": message}


def test_row_30_texts_without_a_known_token_are_indexed_and_counted(
    run: Run, write: Write, index_dir: Path
) -> None:
    texts = ("my card was swallowed", "the parcel", "late order", "my dog", "a bird sings")
    known = [{"id": f"new-{n}", "text": text} for n, text in enumerate(texts)]
    odd = [{"id": "emoji", "text": "😀 🐈"}, {"id": "other", "text": "qwertz"}]
    outcome = run("add", write("a.jsonl", jsonl(*known, *odd)), "-i", index_dir)
    assert outcome.code == 0
    assert outcome.err == "simsearch: warning: 2 of 7 texts hold no token the encoder knows\n"
    assert stored(index_dir).keys() >= {"emoji", "other"}


def test_row_30_a_corpus_of_mostly_unknown_tokens_is_warned_about(
    run: Run, write: Write, index_dir: Path
) -> None:
    path = write("a.jsonl", jsonl({"id": "new", "text": "meine card verschluckt"}))
    outcome = run("add", path, "-i", index_dir)
    assert (outcome.code, outcome.err) == (
        0,
        "simsearch: warning: 67% of the tokens are unknown to this encoder; "
        "name one that was made for this language (--encoder)\n",
    )


def test_row_31_texts_over_the_window_are_cut_and_counted(
    run: Run, write: Write, index_dir: Path
) -> None:
    rows = [{"id": "long", "text": "card " * 40}, {"id": "short", "text": "card " * 30}]
    outcome = run("add", write("a.jsonl", jsonl(*rows)), "-i", index_dir)
    assert (outcome.code, outcome.err) == (
        0,
        "1 of 2 texts are longer than the encoder's window and were cut (`index --long-texts "
        "passages` splits them instead)\n",
    )
    assert stored(index_dir)["long"].text == "card " * 40


TWICE = jsonl(
    {"id": "new", "text": "my card"}, {"id": "b", "text": "cat"}, {"id": "new", "text": "dog"}
)


def test_row_32_an_id_that_stands_twice_names_both_lines(refuse: Refuse, write: Write) -> None:
    path = write("a.jsonl", TWICE)
    message = f"{path}:3: id 'new' stands in {path}:1 already (--duplicates last keeps the last)"
    assert refuse(path) == message


def test_row_32_the_last_document_of_an_id_wins_when_asked_for(
    run: Run, write: Write, index_dir: Path
) -> None:
    outcome = run("add", write("a.jsonl", TWICE), "-i", index_dir, "--duplicates", "last", "--json")
    assert (outcome.code, outcome.object["added"]) == (0, 2)
    assert stored(index_dir)["new"].text == "dog"


def test_row_33_add_refuses_an_id_that_is_in_the_index(refuse: Refuse, write: Write) -> None:
    path = write("a.jsonl", jsonl({"id": "new", "text": "dog"}, {"id": "cat", "text": "dog"}))
    assert refuse(path) == "id 'cat' is in the index already (use upsert to replace)"


def test_row_33_upsert_replaces_and_counts_an_id_that_is_in_the_index(
    run: Run, write: Write, index_dir: Path
) -> None:
    rows = [{"id": "new", "text": "dog"}, {"id": "cat", "text": "dog"}]
    path = write(
        "a.jsonl",
        jsonl(*rows, {"id": "parcel", "text": "the parcel came late", "title": "lost order"}),
    )
    outcome = run("upsert", path, "-i", index_dir, "--json")
    assert outcome.code == 0
    found = outcome.object
    assert {name: found[name] for name in found.keys() - {"search"}} == {
        "added": 1,
        "replaced": 1,
        "unchanged": 1,
        "passages": 2,
        "encoded": 1,
        "reused": 1,
        "rejected": 0,
        "truncated": 0,
        "documents": 4,
        "index": str(index_dir),
        "built": [],
    }
    assert found["search"]["recall"] == 1  # every row is compared
    assert stored(index_dir)["cat"].text == "dog"


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("1", 'number (write it as "1")'),
        ("1.0", 'number (write it as "1.0")'),
        ("true", "boolean"),
        ("null", "null (leave the field out and the id is made from the text)"),
        ('["1"]', "list"),
    ],
)
def test_row_34_an_id_that_is_no_string_is_refused_with_a_hint(
    refuse: Refuse, write: Write, value: str, problem: str
) -> None:
    path = write("a.jsonl", f'{{"id":{value},"text":"dog"}}\n')
    assert refuse(path) == f"{path}:1: field 'id' must be a string, got {problem}"


@pytest.mark.parametrize(
    ("id_", "problem"),
    [
        ("a\\nb", "id 'a\\nb' has a character that is not printable, U+000A at column 2"),
        ("ab\\u0000", "id 'ab\\x00' has a character that is not printable, U+0000 at column 3"),
        ("\\u001b[2J", "id '\\x1b[2J' has a character that is not printable, U+001B at column 1"),
        ("x" * 10_000, f"id '{'x' * 64}'... is 10000 bytes long, at most 512 are allowed"),
        ("", "field 'id' is empty"),
    ],
)
def test_row_35_an_id_must_be_printable_and_short(
    refuse: Refuse, write: Write, id_: str, problem: str
) -> None:
    path = write("a.jsonl", f'{{"id":"{id_}","text":"dog"}}\n')
    assert refuse(path) == f"{path}:1: {problem}"


@pytest.mark.parametrize("id_", ["docs/a b/../c", "x" * 512, "é" * 256, "猫"])
def test_row_35_any_other_id_is_kept(run: Run, write: Write, index_dir: Path, id_: str) -> None:
    path = write("a.jsonl", jsonl({"id": id_, "text": "dog"}))
    assert run("add", path, "-i", index_dir).code == 0
    assert run("get", id_, "-i", index_dir, "--json").object["id"] == id_


def test_row_36_ids_equal_after_nfc_are_kept_distinct(
    run: Run, write: Write, index_dir: Path
) -> None:
    composed, decomposed = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    rows = [{"id": composed, "text": "dog"}, {"id": decomposed, "text": "bird"}]
    assert run("add", write("a.jsonl", jsonl(*rows)), "-i", index_dir).code == 0
    assert stored(index_dir)[composed].text == "dog"
    assert stored(index_dir)[decomposed].text == "bird"


def test_row_37_values_of_several_types_are_kept_and_compared_within_their_type(
    run: Run, write: Write, index_dir: Path
) -> None:
    years = {"a": 2020, "b": "2020", "c": 2020.0, "d": True, "e": None, "f": [2020]}
    rows = [{"id": id_, "text": "card", "year": year} for id_, year in years.items()]
    assert run("add", write("a.jsonl", jsonl(*rows)), "-i", index_dir).code == 0
    assert {id_: stored(index_dir)[id_].metadata["year"] for id_ in years} == years

    def found(where: str) -> list[str]:
        outcome = run("query", "card", "-i", index_dir, "--where", where, "--json")
        return sorted(hit["id"] for hit in outcome.object["hits"])

    assert found("year = 2020") == ["a", "c"]
    assert found("year = '2020'") == ["b"]
    assert found("year contains 2020") == ["f"]


def test_row_37_a_comparison_with_a_type_that_never_occurs_is_told(
    run: Run, index_dir: Path
) -> None:
    outcome = run("query", "card", "-i", index_dir, "--where", "stars = '4'", "--json")
    assert (outcome.code, outcome.object["hits"]) == (0, [])
    assert "field stars never holds a string, but number" in outcome.err


@pytest.mark.parametrize("name", ["a'b", "$.x", "", "x" * 10_000, "a b", "größe", 'a"b'])
def test_row_38_a_field_that_no_filter_could_name_is_refused(
    refuse: Refuse, write: Write, name: str
) -> None:
    corpus = write("a.jsonl", jsonl({"id": "new", "text": "dog", name: 1}))
    assert "cannot be the name of a metadata field (1 to 64 of A-Z a-z 0-9" in refuse(corpus)


def test_row_38_names_that_mean_something_elsewhere_are_names(
    run: Run, write: Write, index_dir: Path
) -> None:
    row = {"id": "new", "text": "dog", "__proto__": "x", "a.b": 1, "select": 2}
    assert run("add", write("a.jsonl", jsonl(row)), "-i", index_dir).code == 0
    where = "__proto__ = 'x' and a.b = 1 and select = 2"
    outcome = run("query", "dog", "-i", index_dir, "--where", where, "--json")
    assert [hit["id"] for hit in outcome.object["hits"]] == ["new"]


def test_row_39_too_many_metadata_fields_are_refused(
    run: Run, refuse: Refuse, write: Write, index_dir: Path
) -> None:
    many = {f"f{number}": number for number in range(256)}
    message = refuse(write("a.jsonl", jsonl({"id": "new", "text": "dog", **many, "one": 1})))
    assert "257 metadata fields, at most 256 are allowed" in message
    corpus = write("b.jsonl", jsonl({"id": "new", "text": "dog", **many}))
    assert run("add", corpus, "-i", index_dir).code == 0
    assert stored(index_dir)["new"].metadata == many


def test_row_41_markup_is_text(run: Run, write: Write, index_dir: Path) -> None:
    markup = '<script>alert("x")</script><img src=x onerror=y>'
    row = {"id": markup, "text": markup, "title": markup, "note": markup}
    assert run("add", write("a.jsonl", jsonl(row)), "-i", index_dir).code == 0
    assert run("get", markup, "-i", index_dir, "--json").object == {
        "id": markup,
        "text": markup,
        "title": markup,
        "metadata": {"note": markup},
    }
    outcome = run("query", markup, "-i", index_dir, "-k", "1", "--json")
    assert markup in [hit["text"] for hit in outcome.object["hits"]]


def add_a_line(path: Path) -> None:
    with path.open("a") as file:
        file.write(jsonl({"id": "late", "text": "bird"}))


def cut_in_half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize("change", [add_a_line, cut_in_half])
def test_row_43_a_file_that_changes_before_it_is_indexed_adds_nothing(
    refuse: Refuse, write: Write, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None]
) -> None:
    corpus = write("a.jsonl", jsonl({"id": "x", "text": "dog"}, {"id": "y", "text": "cat"}))
    validate = CorpusSource.validate

    def validate_then_change(source: CorpusSource) -> None:
        validate(source)
        change(corpus)

    monkeypatch.setattr(CorpusSource, "validate", validate_then_change)
    message = refuse(corpus)
    assert message == (
        f"{corpus}: changed since it was checked (let its writer finish, then try again)"
    )


def test_row_43_a_file_that_changes_while_it_is_read_is_refused(write: Write) -> None:
    corpus = write("a.jsonl", jsonl(*({"id": f"d{n}", "text": "dog " * 90} for n in range(900))))
    documents = read_documents(corpus)
    next(documents)
    add_a_line(corpus)
    with pytest.raises(InvalidData, match=r"a\.jsonl: changed while it was read"):
        list(documents)


def test_row_44_closed_stdin_is_said_and_nothing_is_left(index_dir: Path) -> None:
    before, beside = contents(index_dir), sorted(index_dir.parent.iterdir())
    command = [sys.executable, "-m", "simsearch", "upsert", "-", "-i", str(index_dir)]
    finished = subprocess.run(
        ["sh", "-c", 'exec "$@" <&-', "sh", *command], capture_output=True, text=True, timeout=300
    )
    assert (finished.returncode, finished.stdout) == (3, "")
    assert finished.stderr == (
        "simsearch: error: stdin is closed (pipe data into it, or name a file)\n"
    )
    assert contents(index_dir) == before
    assert sorted(index_dir.parent.iterdir()) == beside


class Interrupted(io.BytesIO):
    """Some rows, and then Ctrl-C while more of them are waited for."""

    def read(self, size: int | None = -1) -> bytes:
        if content := super().read(size):
            return content
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("the signal was ignored")


def test_row_44_rows_read_before_an_interrupt_are_discarded(
    run: Run, index_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, beside = contents(index_dir), sorted(index_dir.parent.iterdir())
    rows = Interrupted(jsonl({"id": "new", "text": "dog"}).encode())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(rows))
    outcome = run("upsert", "-", "-i", index_dir)
    assert outcome.refusal(130) == "interrupted"
    assert contents(index_dir) == before
    assert sorted(index_dir.parent.iterdir()) == beside


def test_row_44_an_input_error_of_stdin_names_stdin(refuse: Refuse, fill_stdin: FillStdin) -> None:
    fill_stdin(jsonl({"id": "new", "text": "dog"}, {"id": "bad", "text": ""}).encode())
    assert refuse("-") == "stdin:2: the document is empty (its title and text are blank)"
