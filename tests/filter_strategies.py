"""Random documents and filters for Hypothesis: few names and values, so that they meet often."""

from __future__ import annotations

import hypothesis.strategies as st

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

FIELDS = st.sampled_from(["a", "lang", "year", "x.y", "a-b", "9", "__proto__", "not"])
# Near each other in every way that a comparison could get wrong.
WORDS = ["", "a", "A", "ab", " a", "1", "1.0", "true", "null", "2024-01-31", "é", "e\u0301", "😀"]
MARKS = ["'", "''", "--", ";", '"', "\\", "a\\", "\\u0000", "a%b", "a_b", "a*b", "[a]", "a\nb"]
STRINGS = st.one_of(
    st.sampled_from([*WORDS, *MARKS, "\uffff"]),
    st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=6),
)
NUMBERS = st.one_of(
    st.sampled_from([0, 1, -1, 1.0, -0.0, 0.1, 0.30000000000000004, 2**53, 2.0**53, 2**53 + 1]),
    st.sampled_from([2**63 - 1, -(2**63), 2.0**63, 1e308, 5e-324, 2020, 2020.5]),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
)
SCALARS = st.one_of(STRINGS, NUMBERS, st.booleans(), st.none())
STORED_STRINGS = st.one_of(
    STRINGS, st.sampled_from(["a\0", "a\0b", "\0", "ab\0", "\\\0", "\\\\u0000"])
)
STORED = st.one_of(
    SCALARS,
    STORED_STRINGS,
    st.lists(st.one_of(SCALARS, STORED_STRINGS, st.lists(SCALARS, max_size=2)), max_size=4),
    st.dictionaries(st.sampled_from(["a", "b"]), SCALARS, max_size=2),
)
METADATA = st.dictionaries(FIELDS, STORED, max_size=5)
PATTERNS = st.lists(
    st.sampled_from(
        ["%", "_", "a", "b", "A", r"\%", r"\_", r"\\", "*", "?", "[", "]", "é", "^", "-", r"\a"]
    ),
    max_size=7,
).map("".join)

ORDERED = st.builds(
    Comparison, FIELDS, st.sampled_from(list(Comparator)), st.one_of(STRINGS, NUMBERS)
)
EQUALITIES = st.builds(Comparison, FIELDS, st.just(Comparator.EQUAL), SCALARS)
LEAVES = st.one_of(
    ORDERED,
    EQUALITIES,
    st.builds(Membership, FIELDS, st.lists(SCALARS, min_size=1, max_size=5).map(tuple)),
    st.builds(Containment, FIELDS, SCALARS),
    st.builds(Likeness, FIELDS, PATTERNS),
)


def _larger(parts: st.SearchStrategy[Condition]) -> st.SearchStrategy[Condition]:
    several = st.lists(parts, min_size=2, max_size=3).map(tuple)
    return st.one_of(
        st.builds(Negation, parts), st.builds(Conjunction, several), st.builds(Disjunction, several)
    )


CONDITIONS = st.recursive(LEAVES, _larger, max_leaves=6)


def written(condition: Condition) -> str:
    """Return a condition as the text of a filter, every name and part in its own marks."""
    match condition:
        case Negation(part):
            return f"not ({written(part)})"
        case Conjunction(parts):
            return " and ".join(f"({written(part)})" for part in parts)
        case Disjunction(parts):
            return " or ".join(f"({written(part)})" for part in parts)
        case Comparison(field, comparator, value):
            return f"`{field}` {comparator} {literal(value)}"
        case Membership(field, values):
            return f"`{field}` in ({', '.join(literal(value) for value in values)})"
        case Containment(field, value):
            return f"`{field}` contains {literal(value)}"
        case Likeness(field, pattern):
            return f"`{field}` like {literal(pattern)}"
    raise AssertionError(condition)


def literal(value: str | int | float | bool | None) -> str:
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if value is None or isinstance(value, bool):
        return str(value).lower().replace("none", "null")
    return repr(value)
