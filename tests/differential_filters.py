"""Random filters on random documents: SQL against plain Python.

    python tests/differential_filters.py [FILTERS] [SEED]

Every filter is written as text, read, turned into SQL and run over 40 documents; what it finds is
compared with the evaluator in filters.py. The first difference ends the run with exit code 1.
"""

from __future__ import annotations

import json
import random
import sqlite3
import sys
from typing import Any

from filter_strategies import MARKS, WORDS, written
from filters import holds

from simsearch.conditions import (
    Comparator,
    Comparison,
    Condition,
    Conjunction,
    Containment,
    Disjunction,
    Likeness,
    Membership,
    Negation,
)
from simsearch.query import parse_filter
from simsearch.storage.filters import matching_rows

DOCUMENTS = 40
FILTERS_A_TABLE = 100
FIELDS = ["a", "lang", "year", "x.y", "a-b", "9", "__proto__", "not"]
NUMBERS: list[float] = [0, 1, -1, 1.0, -0.0, 0.1, 0.30000000000000004, 2020, 2020.5, 1e308, 5e-324]
NUMBERS += [2**53, 2.0**53, 2**53 + 1, 2**63 - 1, -(2**63), 2.0**63]
ALIKE = ["\ufffd", "a\ufffe", "\uffffa", "\ufffd\ufffe\uffff"]
NULS = ["a\0", "a\0b", "\0", "ab\0", "\\\0", "\\\\u0000"]
PIECES = ["%", "_", "a", "b", "A", r"\%", r"\_", r"\\", "*", "?", "[", "]", "é", "^", "-", r"\a"]
PIECES += ["\ufffd", "\ufffe", "\uffff"]  # of which SQLite makes one where it compares patterns


def differences(filters: int, seed: int) -> int:
    """Run so many filters; return how many of them found something else, printing the first."""
    rng = random.Random(seed)
    for done in range(0, filters, FILTERS_A_TABLE):
        documents = [random_metadata(rng) for _ in range(DOCUMENTS)]
        connection = table(documents)
        for _ in range(min(FILTERS_A_TABLE, filters - done)):
            text = written(random_condition(rng, depth=rng.randrange(4)))
            wanted = parse_filter(text).condition
            found = matching_rows(connection, wanted).tolist()
            expected = [n for n, each in enumerate(documents) if holds(wanted, each)]
            if found != expected:
                odd = [documents[n] for n in set(found) ^ set(expected)]
                print(f"{text!r}: SQL found {found}, Python {expected}: {odd}")
                return 1
        connection.close()
    return 0


def table(documents: list[dict[str, Any]]) -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:")
    connection.execute(
        "CREATE TABLE documents (first_row INTEGER PRIMARY KEY, rows INTEGER, metadata TEXT)"
    )
    connection.executemany(
        "INSERT INTO documents VALUES (?, 1, ?)",
        [(n, json.dumps(each, ensure_ascii=False)) for n, each in enumerate(documents)],
    )
    return connection


def random_metadata(rng: random.Random) -> dict[str, Any]:
    return {name: random_stored(rng) for name in rng.sample(FIELDS, rng.randrange(6))}


def random_stored(rng: random.Random, depth: int = 0) -> Any:
    draw = rng.random()
    if draw < 0.15 and depth < 2:
        return [random_stored(rng, depth + 1) for _ in range(rng.randrange(4))]
    if draw < 0.2 and depth < 2:
        return {"a": random_stored(rng, depth + 1)}
    return rng.choice(NULS) if draw < 0.3 else random_scalar(rng)


def random_scalar(rng: random.Random) -> Any:
    draw = rng.random()
    if draw < 0.45:
        return rng.choice(WORDS + MARKS + ALIKE)
    if draw < 0.8:
        return rng.choice(NUMBERS)
    if draw < 0.9:
        return rng.choice([True, False, None])
    return rng.choice([rng.uniform(-2, 2) * 10 ** rng.randint(-300, 300), rng.getrandbits(62)])


def random_condition(rng: random.Random, *, depth: int) -> Condition:
    if depth:
        parts = tuple(random_condition(rng, depth=depth - 1) for _ in range(rng.randint(2, 3)))
        return rng.choice([Conjunction(parts), Disjunction(parts), Negation(parts[0])])
    field = rng.choice(FIELDS)
    value = random_scalar(rng)
    ordered = value if type(value) in (str, int, float) else rng.choice(WORDS)
    return rng.choice(
        [
            Comparison(field, rng.choice(list(Comparator)), ordered),
            Comparison(field, Comparator.EQUAL, value),
            Membership(field, tuple(random_scalar(rng) for _ in range(rng.randint(1, 5)))),
            Containment(field, value),
            Likeness(field, "".join(rng.choices(PIECES, k=rng.randrange(7)))),
        ]
    )


if __name__ == "__main__":
    count, seed = (int(each) for each in [*sys.argv[1:], *("100000", "0")[len(sys.argv) - 1 :]])
    if differences(count, seed):
        sys.exit(1)
    print(f"{count:,} random filters on {DOCUMENTS} documents each, seed {seed}: no difference")
