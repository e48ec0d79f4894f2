"""What the fuzzer begins with: inputs that each target reads to the end, or nearly so."""

from __future__ import annotations

import gzip
import io
import struct
from collections.abc import Mapping

import faiss
import numpy as np

from simsearch.ann import write_vectors
from simsearch.storage import FORMAT_VERSION

_JSONL = b'{"id":"a","title":"t","text":"my card","lang":"en","n":[1,null,{"x":1.5}]}\n'
_CSV = b'id,text,lang\n1,"my ""card""\r\n2",en\n'
_CONLL = b"-DOCSTART- -X- -X- O\n\nMary\tB-PER\nSmith\tI-PER\nsings\tO\n\nRome NNP B-NP S-LOC\n"
_CONFIG = b"""encoder = "m"
eval = "e.jsonl"
epochs = 2
learning_rate = 1e-5
[[data]]
path = "pairs.jsonl"
objective = "in-batch"
"""
_FILTERS = (
    b"lang = 'en' and year >= 2020 and not (a in ('b', null, true, 1.5))",
    b"a like 'b%' or `x.y` contains 'a' or 9 is true",
    b"year != 2020 or lang < 'e' or a = null",
)


def _saved(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _segment(kind: str) -> bytes:
    """Return the file of a segment of four rows, with an index of some kind."""
    vectors = np.eye(4, dtype=np.float32)
    index = faiss.index_factory(4, kind, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.add(vectors)
    file = io.BytesIO()
    write_vectors(np.arange(4), [vectors], file.write)
    return file.getvalue() + faiss.serialize_index(index).tobytes()


SEEDS: Mapping[str, tuple[bytes, ...]] = {
    "jsonl": (_JSONL, b'{"text":"a"}\n{"text":"\\u00e9 \\ud83d\\ude00"}'),
    "csv": (_CSV, b"\xef\xbb\xbftext\na\n"),
    "gzip": (gzip.compress(_JSONL, mtime=0), gzip.compress(b"{}" * 500, mtime=0)),
    "pairs": (
        b'{"anchor":"a","positive":"b","negative":"c"}\n',
        b'{"sentence1":"a","sentence2":"b","score":0.5}\n',
        b'{"text":"a","label":1}\n',
        b"\x00sentence1,sentence2,label\na,b,1\n",
    ),
    "labels": (b'{"text":"a","labels":["x","y"]}\n', b"\x00text,label\na,x\n"),
    "conll": (_CONLL, b"A\tB-X\nB\tL-X\n\nC\tU-Y\n"),
    "config": (_CONFIG,),
    "filters": _FILTERS,
    "npy": (
        _saved(np.eye(3, dtype=np.float32)),
        _saved(np.asfortranarray(np.ones((2, 2), dtype=">f8"))),
    ),
    "small_files": (
        b"simsearch-index 3 simsearch/0.1.0\n",
        f"simsearch-index {FORMAT_VERSION} simsearch/0.1.0\n".encode(),
        b"00000000000000000007 57d0c8a5\n",
        b'{"format":1,"commit_number":1,"files":{"meta.db":{"bytes":1,"sha256":"00"}}}',
    ),
    "document_row": (b'\x00\x01\x00|a\x1ftext of a\x1ftitle\x1f{"n":1,"l":[1.5,null,"x"]}',),
    "passage_row": (struct.pack("<qqq", 0, 0, 9) + bytes(16),),
    "judgement_row": (b"\1lost card\x1fkb-17\x1f" + bytes(16),),
    "block": (
        b"\0" + struct.pack("<qq", 0, 2) + np.ones((2, 4), dtype="<f4").tobytes(),
        b"\1" + struct.pack("<qq", 0, 2) + np.ones((2, 4), dtype="<f4").tobytes(),
    ),
    "segment": tuple(_segment(each) for each in ("Flat", "SQ8", "IVF2,Flat", "HNSW4,Flat")),
}
