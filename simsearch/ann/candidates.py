"""The kinds of index that the planner chooses among, and what can be turned at each.

Codes of a bit or two a component find more than is asked for, and the vectors themselves, which a
segment has anyway, say which of it is best (`BuiltIndex`). So no index holds finer codes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# FAISS wants this many training vectors for each centroid, and says so on stderr otherwise.
_POINTS_A_CENTROID: Final = 39
_K_FACTORS: Final = (1, 2, 3, 4, 6, 8, 10, 12, 16, 24, 32, 48, 64, 96, 128)
# Codes of 4 bits, 64 rows in a block: a query goes through them in four fifths of the time that
# FAISS's own 32 take (docs/log.md, 2026-11-26).
_FAST_SCAN: Final = "x4fs_64"
# Among fewer rows lists behind a projection gain nothing, and there they are to be long: to begin
# one costs a query as much as to scan hundreds of such codes.
_LISTS_PAY_FROM: Final = 500_000
_FEWER_LISTS: Final = 4
_EF_SEARCHES: Final = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)


@dataclass(frozen=True, slots=True)
class Parameters:
    """What is set at search time; None where an index has no such thing.

    `nprobe`: lists that are scanned. `k_factor`: how many times k rows are found by their codes, to
    be compared by their vectors. `ef_search`: width of the search in a graph.
    """

    nprobe: int | None = None
    k_factor: int | None = None
    ef_search: int | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A kind of index: its name, FAISS's factory string, and the values of its parameters.

    The values ascend, and recall with them (but for chance).
    """

    name: str
    factory: str
    nprobes: tuple[int, ...] = ()
    k_factors: tuple[int, ...] = ()
    ef_searches: tuple[int, ...] = ()
    points_to_train: int = 0

    def bytes_a_row(self, dim: int) -> float:
        """Return about how many bytes a vector takes, from which the order of trying follows."""
        return sum(_part_bytes(part, dim) for part in self.factory.split(","))


FLAT: Final = Candidate("flat", "Flat")


def _part_bytes(part: str, dim: int) -> float:
    """Return the bytes a vector takes in one part of a factory string."""
    if part.startswith("PCAR"):
        return 0  # a matrix for all
    if part.startswith("IVF"):
        return 8  # its number; lists and centroids are few
    if part.startswith("HNSW"):
        links, _, store = part.removeprefix("HNSW").partition("_")
        # Twice the links in the lowest layer; one row in `links` has more in those above.
        graph = 4 * (2 * int(links) + 1) + 12
        return graph + _part_bytes(store or "Flat", dim)
    if part.startswith("PQ"):
        return int(part.removeprefix("PQ").removesuffix(_FAST_SCAN)) / 2
    return {"Flat": 4.0 * dim, "SQ8": dim, "RaBitQfs": dim / 8 + 8}[part]


def candidates_for(rows: int, dim: int) -> list[Candidate]:
    """Return the kinds of index that can be built of so many vectors; flat is the first."""
    lists = lists_for(rows)
    probes = _probes(lists)
    kinds = [FLAT, Candidate("sq8", "SQ8", k_factors=_K_FACTORS)]
    for name, codes in _product_codes(dim).items():
        kinds += [
            Candidate(
                f"pq4fs-{name}",
                f"PQ{codes}{_FAST_SCAN}",
                k_factors=_K_FACTORS,
                points_to_train=16 * _POINTS_A_CENTROID,
            ),
            Candidate(
                f"ivf-pq4fs-{name}",
                f"IVF{lists},PQ{codes}{_FAST_SCAN}",
                probes,
                _K_FACTORS,
                points_to_train=max(16, lists) * _POINTS_A_CENTROID,
            ),
        ]
    if halved := _parts(dim // 2, width=3):
        # Half of the components hold most of what tells embeddings apart; to find them takes at
        # least as many vectors as there are components.
        kinds.append(
            Candidate(
                "pca-pq4fs",
                f"PCAR{dim // 2},PQ{halved}{_FAST_SCAN}",
                k_factors=_K_FACTORS,
                points_to_train=max(16 * _POINTS_A_CENTROID, dim),
            )
        )
        if rows >= _LISTS_PAY_FROM:
            fewer = lists // _FEWER_LISTS
            kinds.append(
                Candidate(
                    "pca-ivf-pq4fs",
                    f"PCAR{dim // 2},IVF{fewer},PQ{halved}{_FAST_SCAN}",
                    _probes(fewer),
                    _K_FACTORS,
                    points_to_train=fewer * _POINTS_A_CENTROID,
                )
            )
    return [
        *kinds,
        Candidate("hnsw-sq8", "HNSW16_SQ8", ef_searches=_EF_SEARCHES),
        Candidate("hnsw", "HNSW16", ef_searches=_EF_SEARCHES),
        Candidate("rabitq", "RaBitQfs", k_factors=_K_FACTORS),
        Candidate(
            "ivf-rabitq",
            f"IVF{lists},RaBitQfs",
            probes,
            _K_FACTORS,
            points_to_train=lists * _POINTS_A_CENTROID,
        ),
    ]


def lists_for(rows: int) -> int:
    """Return the number of inverted lists for so many vectors: about their square root, even."""
    power = 4
    while 2 ** (power + 1) <= 1.5 * rows**0.5:
        power += 1
    return int(2**power)


def _probes(lists: int) -> tuple[int, ...]:
    """Return 1 to `lists`, each about 1.2 times the one before."""
    values = {max(1, round(lists / 2 ** (step / 4))) for step in range(4 * lists.bit_length())}
    return tuple(sorted(values))


def _product_codes(dim: int) -> dict[str, int]:
    """Return numbers of codes of 4 bits a vector, by what they are called: bits a component.

    A code is of two or four components, or more where a vector cannot be cut so. There may be
    none, or one of them alone.
    """
    codes: dict[str, int] = {}
    for name, width in (("2bit", 2), ("1bit", 4)):
        parts = _parts(dim, width=width)
        if parts and parts not in codes.values():
            codes[name] = parts
    return codes


def _parts(dim: int, *, width: int) -> int | None:
    """Return into how many parts of `width` components or more a vector can be cut, None if not.

    The parts are of one size, and their number is even.
    """
    fitting = [parts for parts in range(2, dim // width + 1, 2) if dim % parts == 0]
    return fitting[-1] if fitting else None
