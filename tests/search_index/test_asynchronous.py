"""An index behind an event loop: the same hits, batches, cancellation, closing."""

from __future__ import annotations

import asyncio
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
from conftest import HashEncoder

from simsearch import AsyncSearchIndex
from simsearch.errors import EncoderError, InvalidFilter, InvalidInput
from simsearch.records import Document
from simsearch.search_index import SearchIndex

DOCUMENTS = [
    Document(f"d{n}", f"text number {n} of {n % 7} kinds", metadata={"kind": n % 3})
    for n in range(100)
]


class RandomEncoder(HashEncoder):
    """A direction of its own for each text: no near ties, which batches round differently."""

    def encode_documents(self, texts, *, counts=None):
        rows = [np.random.default_rng(zlib.crc32(text.encode())).normal(size=256) for text in texts]
        return np.array([row / np.linalg.norm(row) for row in rows], dtype=np.float32)


@pytest.fixture
def path(tmp_path):
    with SearchIndex.create(tmp_path / "i", encoder=RandomEncoder()) as index:
        index.add(DOCUMENTS)
    return tmp_path / "i"


def opened(path):
    return SearchIndex.open(path, encoder=RandomEncoder())


class Gate:
    """Stands for an index: each batch is written down, and waits until it is let through."""

    path = Path("gate")

    def __init__(self) -> None:
        self.batches: list[tuple[list[str], int]] = []
        self.begun = threading.Semaphore(0)
        self.open = threading.Semaphore(0)
        self.closed = False

    def search_many(self, queries, k, **_):
        self.batches.append((list(queries), k))
        self.begun.release()
        self.open.acquire()
        if "bad" in queries:
            raise EncoderError("bad has no vector")
        if "broken" in queries:
            raise ZeroDivisionError
        return [[f"hit of {query}"] for query in queries]

    def close(self):
        self.closed = True

    async def met(self):
        """Wait until a batch is being searched for."""
        await asyncio.to_thread(self.begun.acquire)

    def let_through(self, count):
        """Let so many batches through when what is ready now has run."""
        asyncio.get_running_loop().call_soon(self.open.release, count)


def behind_a_gate(use):
    """Run `use` with an index and its gate, and return the gate."""
    gate = Gate()

    async def main():
        async with AsyncSearchIndex(gate) as index:
            await use(index, gate)

    asyncio.run(main())
    return gate


def searches(index, *queries, k=10):
    return [asyncio.create_task(index.search(query, k)) for query in queries]


def test_every_client_gets_the_hits_that_a_search_gives(path):
    queries = [f"number {n} of {n % 5} kinds" for n in range(80)]
    ways = [{}, {"k": 3, "where": "kind = 1"}, {"mode": "hybrid"}, {"group_by": "kind"}]

    async def main():
        async with AsyncSearchIndex(opened(path)) as index:
            return await asyncio.gather(
                *(index.search(query, **way) for query in queries for way in ways)
            )

    with opened(path) as index:
        expected = [index.search(query, **way) for query in queries for way in ways]
    found = asyncio.run(main())
    assert [[hit.id for hit in hits] for hits in found] == [
        [hit.id for hit in hits] for hits in expected
    ]
    for hits, own in zip(found, expected, strict=True):
        assert [hit.score for hit in hits] == pytest.approx([hit.score for hit in own], abs=1e-6)


def test_queries_that_wait_are_searched_for_together():
    async def use(index, gate):
        first = searches(index, "a")
        await gate.met()
        others = searches(index, *"bcdefg")
        gate.let_through(2)
        found = await asyncio.gather(*first, *others)
        assert found == [[f"hit of {query}"] for query in "abcdefg"]

    assert behind_a_gate(use).batches == [(["a"], 10), (list("bcdefg"), 10)]


def test_a_batch_has_a_most_and_goes_on_with_who_waited_longest():
    queries = [f"q{n}" for n in range(100)]

    async def use(index, gate):
        first = searches(index, "a")
        await gate.met()
        others = searches(index, *queries)
        gate.let_through(3)
        await asyncio.gather(*first, *others)

    assert [batch for batch, _ in behind_a_gate(use).batches] == [["a"], queries[:64], queries[64:]]


def test_only_what_is_asked_alike_is_searched_for_together():
    async def use(index, gate):
        first = searches(index, "a")
        await gate.met()
        others = [*searches(index, "b", k=3), *searches(index, "c"), *searches(index, "d", k=3)]
        gate.let_through(3)
        await asyncio.gather(*first, *others)

    assert behind_a_gate(use).batches == [(["a"], 10), (["b", "d"], 3), (["c"], 10)]


def test_who_is_cancelled_while_waiting_is_not_searched_for():
    async def use(index, gate):
        first = searches(index, "a")
        await gate.met()
        b, c = searches(index, "b", "c")
        asyncio.get_running_loop().call_soon(b.cancel)
        gate.let_through(2)
        assert await c == ["hit of c"]
        assert b.cancelled()
        await asyncio.gather(*first)

    assert [batch for batch, _ in behind_a_gate(use).batches] == [["a"], ["c"]]


def test_who_is_cancelled_while_searched_for_takes_nothing_from_the_others():
    async def use(index, gate):
        first = searches(index, "a")
        await gate.met()
        b, c = searches(index, "b", "c")
        gate.let_through(1)
        await gate.met()
        b.cancel()
        gate.let_through(1)
        assert await c == ["hit of c"]
        assert b.cancelled()
        await asyncio.gather(*first)

    assert [batch for batch, _ in behind_a_gate(use).batches] == [["a"], ["b", "c"]]


def test_an_error_of_one_query_is_its_own():
    async def use(index, gate):
        first = searches(index, "a")
        await gate.met()
        others = searches(index, "b", "bad", "c")
        gate.let_through(5)
        b, bad, c = await asyncio.gather(*others, return_exceptions=True)
        assert (b, c) == (["hit of b"], ["hit of c"])
        assert str(bad) == "bad has no vector"
        await asyncio.gather(*first)

    batches = behind_a_gate(use).batches
    assert [batch for batch, _ in batches] == [["a"], ["b", "bad", "c"], ["b"], ["bad"], ["c"]]


def test_after_an_error_of_ours_the_next_query_is_answered():
    async def use(index, gate):
        gate.open.release(2)
        with pytest.raises(ZeroDivisionError):
            await index.search("broken")
        assert await index.search("a") == ["hit of a"]

    behind_a_gate(use)


@pytest.mark.parametrize(("query", "k"), [("", 10), ("a\0", 10), ("a", 0)])
def test_what_is_no_query_is_refused_at_the_door(query, k):
    async def use(index, gate):
        with pytest.raises(InvalidInput):
            await index.search(query, k)

    assert behind_a_gate(use).batches == []


@pytest.mark.parametrize("name", ["where", "mode", "diversity", "group_by", "min_probability"])
def test_arguments_that_no_search_takes_are_refused_and_disturb_no_other_query(name):
    async def use(index, gate):
        first = searches(index, "a")
        await gate.met()
        wrong = [index.search("heart", **{name: np.array([0.1, 0.2])}) for _ in range(2)]
        found = asyncio.gather(*wrong, index.search("heart disease"), return_exceptions=True)
        gate.let_through(2)
        *refused, hits = await found
        assert [type(each) for each in refused] == [InvalidInput, InvalidInput]
        assert hits == ["hit of heart disease"]
        await asyncio.gather(*first)

    assert [batch for batch, _ in behind_a_gate(use).batches] == [["a"], ["heart disease"]]


def test_a_filter_that_is_none_is_refused_like_anywhere(path):
    async def main():
        async with AsyncSearchIndex(opened(path)) as index:
            with pytest.raises(InvalidFilter, match="nothing"):
                await index.search("text", where="nothing = 1")
            return await index.search("text", k=1)

    assert len(asyncio.run(main())) == 1


def test_closing_answers_what_was_asked_and_refuses_what_comes_later():
    async def use(index, gate):
        first = searches(index, "a")
        await gate.met()
        second = searches(index, "b")
        closing = asyncio.create_task(index.close())
        gate.let_through(2)
        assert await asyncio.gather(*first, *second) == [["hit of a"], ["hit of b"]]
        await closing
        assert gate.closed
        with pytest.raises(InvalidInput, match="the index gate is closed"):
            await index.search("c")
        with pytest.raises(InvalidInput, match="closed"):
            await index.call(SearchIndex.count)

    behind_a_gate(use)


def test_a_closing_that_is_cancelled_goes_on_and_every_close_waits_for_it():
    async def use(index, gate):
        first = searches(index, "a")
        await gate.met()
        cancelled = asyncio.create_task(index.close())
        asyncio.get_running_loop().call_soon(cancelled.cancel)
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        closings = [asyncio.create_task(index.close()) for _ in range(2)]
        gate.let_through(1)
        await asyncio.wait(closings, return_when=asyncio.FIRST_COMPLETED)
        assert gate.closed
        assert await asyncio.gather(*first) == [["hit of a"]]

    behind_a_gate(use)


def test_other_calls_run_beside_the_loop_and_a_search_sees_what_they_wrote(path):
    async def main():
        async with AsyncSearchIndex(opened(path)) as index:
            report = await index.call(SearchIndex.add, [Document("new", "something else")])
            (hit,) = await index.search("something else", k=1)
            await index.call(SearchIndex.judge, "something", "new", relevant=False)
            return report.added, hit.id, await index.call(SearchIndex.judgements)

    added, found, judged = asyncio.run(main())
    assert (added, found) == (1, "new")
    assert [(each.document_id, each.relevant) for each in judged] == [("new", False)]


def test_many_clients_need_few_threads(path):
    async def main():
        before = threading.active_count()
        async with AsyncSearchIndex(opened(path)) as index:
            asked = [index.search(f"number {n}") for n in range(300)]
            asked += [index.call(SearchIndex.get, f"d{n}") for n in range(100)]
            await asyncio.gather(*asked)
            return threading.active_count() - before

    assert asyncio.run(main()) <= 5
