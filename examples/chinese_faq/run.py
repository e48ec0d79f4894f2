"""Index the FAQ of an invented town library in Chinese, ask in Chinese, and count what is found.

    python examples/chinese_faq/run.py [ENCODER] [--out DIR]

ENCODER is a model directory or a hub name, for instance BAAI/bge-small-zh-v1.5. Without it the
packaged default encoder is used, which was made for English and says here how little it sees.
The index stays in DIR, by default a fresh temporary directory that is printed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import simsearch

HERE = Path(__file__).parent

# What a reader asks, in words of their own, and the entry that answers it.
QUESTIONS = {
    "卡不见了，要重新办一张": "card-lost",
    "晚上关门之后把书放哪儿": "borrow-return-box",
    "过期没还会扣钱吗": "borrow-overdue",
    "我奶奶走路困难，你们送到家里吗": "borrow-home",
    "哪天休息？早上什么时候可以进去": "hours-week",
    "在馆里用手机上网": "wifi",
    "隔壁座位一直讲话": "sleep-noise",
    "带着狗能进去吗": "pet",
    "我想把不要的小说送给你们": "donate",
    "车放在什么地方，收多少钱": "parking",
}

# `simsearch index` warns above this share as well.
TOO_MANY_UNKNOWN = 0.3


def main(out: Path | None = None, encoder: str | None = None) -> int:
    """Run the example and return how many questions found their entry first."""
    out = out or Path(tempfile.mkdtemp(prefix="simsearch-chinese-"))
    entries = list(simsearch.read_corpus([HERE / "faq.jsonl"]))
    model = simsearch.Encoder.load(encoder)

    with simsearch.SearchIndex.create(out / "index", encoder=model) as index:
        counts = simsearch.EncodingCounts()
        index.add(entries, counts=counts)
        print(f"{len(index)} entries in {index.path}")
        print(f"encoder {model.name}: {counts.unknown_share:.0%} of the tokens are unknown to it")
        if counts.unknown_share > TOO_MANY_UNKNOWN:
            print(
                "WARNING: this encoder was not made for Chinese; name another one: run.py ENCODER"
            )

        first = 0
        for question, wanted in QUESTIONS.items():
            hits = index.search(question, k=3)
            found = hits[0].id == wanted
            first += found
            print(f"\n{'✓' if found else '✗'} {question}")
            for hit in hits:
                print(f"    {hit.score:.3f}  {hit.id}  {hit.title}")

    print(f"\n{first} of {len(QUESTIONS)} questions found their entry first")
    return first


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("encoder", nargs="?", help="model directory or hub name")
    parser.add_argument("--out", type=Path, help="where the index goes")
    arguments = parser.parse_args()
    try:
        main(arguments.out, arguments.encoder)
    except simsearch.SimsearchError as error:
        sys.exit(f"error: {error}")
