"""The description of an export: what may stand in each of its fields."""

from __future__ import annotations

import json
import re
import shutil

import pytest

from simsearch.encoder import Encoder
from simsearch.encoder.export_files import EncoderSpec, read_export
from simsearch.errors import EncoderError

NUMBER = "a whole number from 0 on"


@pytest.fixture
def export(tiny_encoder_dir, tmp_path):
    return shutil.copytree(Encoder.load(tiny_encoder_dir).export_directory(), tmp_path / "export")


def edit(export, **changes):
    content = json.loads((export / "encoder.json").read_text()) | changes
    (export / "encoder.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("name", 5, "a text"),
        ("name", None, "a text"),
        ("fingerprint", ["a"], "a text"),
        ("dim", "32", NUMBER),
        ("dim", 32.0, NUMBER),
        ("dim", True, NUMBER),
        ("dim", -32, NUMBER),
        ("dim", 10**12, NUMBER),
        ("max_length", None, NUMBER),
        ("max_length", [32], NUMBER),
        ("max_length", 10**30, NUMBER),
        ("pad_id", "0", NUMBER),
        ("pad_id", -1, NUMBER),
        ("lower_case", 0, "true or false"),
        ("lower_case", "false", "true or false"),
        ("include_prompt", None, "true or false"),
        ("query_prompt", None, "a text"),
        ("document_prompt", {}, "a text"),
        ("trained_dims", 16, "a list of whole numbers"),
        ("trained_dims", "16", "a list of whole numbers"),
        ("trained_dims", ["16"], "a list of whole numbers"),
        ("trained_dims", None, "a list of whole numbers"),
        ("model", 5, "a text"),
        ("model", None, "a text"),
        ("model", False, "a text"),
        ("precision", 8, "a text"),
        ("graph_sha256", 5, "a text"),
        ("tokenizer_sha256", None, "a text"),
        ("data_sha256", None, "a text"),
    ],
)
def test_a_field_of_another_type_is_named(export, field, value, expected):
    edit(export, **{field: value})
    with pytest.raises(EncoderError) as caught:
        Encoder.load(export)
    assert str(caught.value) == (
        f"{export / 'encoder.json'}: {field} must be {expected}, got {value!r}"
    )


@pytest.mark.parametrize("field", ["name", "fingerprint", "dim", "max_length", "pad_id"])
def test_a_field_that_is_missing_is_named(export, field):
    content = json.loads((export / "encoder.json").read_text())
    del content[field]
    (export / "encoder.json").write_text(json.dumps(content))
    with pytest.raises(EncoderError, match=rf"encoder\.json: {field} is missing$"):
        read_export(export)


@pytest.mark.parametrize("field", ["trained_dims", "include_prompt", "model", "precision"])
def test_a_field_that_the_first_exports_do_not_have_may_be_missing(export, field):
    content = json.loads((export / "encoder.json").read_text())
    del content[field]
    (export / "encoder.json").write_text(json.dumps(content))
    default = {"trained_dims": (), "include_prompt": True, "model": "", "precision": "fp32"}
    assert getattr(read_export(export), field) == default[field]


def test_what_is_written_is_read_again(export):
    edit(export, name="n", dim=32, trained_dims=[16, 8], query_prompt="q: ", include_prompt=False)
    spec = read_export(export)
    assert spec == EncoderSpec(
        name="n",
        fingerprint=spec.fingerprint,
        dim=32,
        max_length=32,
        pad_id=0,
        lower_case=False,
        query_prompt="q: ",
        document_prompt="",
        trained_dims=(16, 8),
        include_prompt=False,
    )


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("[]", "expected a JSON object, got a list"),
        ("null", "expected a JSON object, got a NoneType"),
        ("{", "Expecting property name"),
        ("[" * 100_000, "maximum recursion depth"),
        ("\udcff", "can't decode byte 0xff"),
    ],
    ids=["a list", "null", "half", "nested", "no text"],
)
def test_a_description_that_is_no_object_is_refused(export, content, told):
    (export / "encoder.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(EncoderError, match=re.escape(told)):
        read_export(export)


@pytest.mark.parametrize("version", [2, "1", None])
def test_another_format_is_refused(export, version):
    edit(export, format=version)
    with pytest.raises(EncoderError, match=rf"holds an export of format {version!r}$"):
        read_export(export)


@pytest.mark.parametrize("name", ["encoder.json", "encoder.onnx", "tokenizer.json"])
def test_a_file_that_is_missing_is_named(export, name):
    (export / name).unlink()
    with pytest.raises(EncoderError) as caught:
        read_export(export)
    assert str(caught.value) == f"{export / name} is missing"
