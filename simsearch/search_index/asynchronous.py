"""An index in a program with an event loop, such as a web application.

Queries that arrive while others are searched for wait, and are then searched for together: encoded
in one batch, compared in one product. So a hundred clients need one thread, and are answered
sooner than one by one; a single query waits for nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Concatenate, Final, ParamSpec, TypeVar

from simsearch.errors import InvalidInput, SimsearchError
from simsearch.query import SearchMode
from simsearch.records import Hit
from simsearch.search_index.arranging import check_diversity
from simsearch.search_index.checks import check_k, check_query
from simsearch.search_index.index import SearchIndex
from simsearch.search_index.probability import check_probability

_Given = ParamSpec("_Given")
_Found = TypeVar("_Found")

MOST_TOGETHER: Final = 64
"""Queries of one batch: a longer one would make the first of them wait for the last."""
_OTHER_CALLS: Final = 4  # at once; searches wait for none of them


@dataclass(frozen=True, slots=True)
class _Search:
    """What queries must have in common to be searched for together."""

    k: int
    where: str | None
    mode: SearchMode | str | None
    diversity: float
    group_by: str | None
    min_probability: float | None


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    """A query, and where its hits are waited for."""

    query: str
    search: _Search
    answer: asyncio.Future[list[Hit]]


class AsyncSearchIndex:
    """An open index, for one event loop; use it as `async with`, at whose end it is closed.

    A call that is cancelled disturbs no other: its query is left out of a batch that has not begun.
    """

    def __init__(self, index: SearchIndex) -> None:
        self._index = index
        self._searching = ThreadPoolExecutor(1, thread_name_prefix="simsearch-search")
        self._calling = ThreadPoolExecutor(_OTHER_CALLS, thread_name_prefix="simsearch-call")
        self._waiting: deque[_Waiting] = deque()
        self._runner: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> AsyncSearchIndex:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def search(
        self,
        query: str,
        k: int = 10,
        *,
        where: str | None = None,
        mode: SearchMode | str | None = None,
        diversity: float = 0.0,
        group_by: str | None = None,
        min_probability: float | None = None,
    ) -> list[Hit]:
        """Return the hits of `SearchIndex.search`; arguments and errors are the same."""
        self._refuse_closed()
        # At the door: what is none must neither fail with the others nor be compared with them.
        check_query(query)
        search = _Search(k, where, mode, diversity, group_by, min_probability)
        _check(search)
        loop = asyncio.get_running_loop()
        waiting = _Waiting(query, search, loop.create_future())
        self._waiting.append(waiting)
        if self._runner is None or self._runner.done():
            self._runner = loop.create_task(self._run())
        return await waiting.answer

    async def call(
        self,
        method: Callable[Concatenate[SearchIndex, _Given], _Found],
        *arguments: _Given.args,
        **named: _Given.kwargs,
    ) -> _Found:
        """Return what a method of the index returns, such as `SearchIndex.add`, from a thread.

        A call that has begun goes on to its end, also if nobody waits for it any more.
        """
        self._refuse_closed()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._calling, lambda: method(self._index, *arguments, **named)
        )

    async def close(self) -> None:
        """Answer what was asked so far, and close the index; it is closed when this returns.

        The closing goes on if the call is cancelled, and every further call waits for it.
        """
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        try:
            if self._runner is not None:
                await asyncio.wait([self._runner])
        finally:  # also where the loop is ending
            await asyncio.to_thread(self._shut_down)

    def _shut_down(self) -> None:
        self._searching.shutdown()
        self._calling.shutdown()
        self._index.close()

    def _refuse_closed(self) -> None:
        if self._closing is not None:
            raise InvalidInput(f"the index {self._index.path} is closed")

    async def _run(self) -> None:
        """Answer batch by batch until nobody waits."""
        loop = asyncio.get_running_loop()
        try:
            while batch := self._next_batch():
                queries, search = [each.query for each in batch], batch[0].search
                found = await loop.run_in_executor(self._searching, self._answers, queries, search)
                for each, answer in zip(batch, found, strict=True):
                    _give(each.answer, answer)
        finally:
            for each in self._waiting:  # the loop is ending
                each.answer.cancel()
            self._waiting.clear()

    def _next_batch(self) -> list[_Waiting]:
        """Take the query that has waited longest, and those that go with it."""
        left = [each for each in self._waiting if not each.answer.done()]
        alike = [each for each in left if each.search == left[0].search][:MOST_TOGETHER]
        taken = set(map(id, alike))
        self._waiting = deque(each for each in left if id(each) not in taken)
        return alike

    def _answers(self, queries: Sequence[str], search: _Search) -> list[list[Hit] | Exception]:
        """Return the hits of each query, or why it has none."""
        try:
            return list(self._found(queries, search))
        except SimsearchError as error:
            if len(queries) == 1:
                return [error]
            # Perhaps it is of one of them alone.
            return [answer for query in queries for answer in self._answers([query], search)]
        except Exception as error:
            return [error] * len(queries)

    def _found(self, queries: Sequence[str], search: _Search) -> list[list[Hit]]:
        return self._index.search_many(
            queries,
            search.k,
            where=search.where,
            mode=search.mode,
            diversity=search.diversity,
            group_by=search.group_by,
            min_probability=search.min_probability,
        )


def _check(search: _Search) -> None:
    """Refuse what cannot be compared with another search."""
    check_k(search.k)
    check_diversity(search.diversity)
    if search.min_probability is not None:
        check_probability(search.min_probability)
    names = {"where": search.where, "mode": search.mode, "group_by": search.group_by}
    for name, value in names.items():
        if value is not None and not isinstance(value, str):
            raise InvalidInput(f"{name} must be a string, got {type(value).__name__}")


def _give(future: asyncio.Future[list[Hit]], answer: list[Hit] | Exception) -> None:
    if future.done():  # nobody waits for it any more
        return
    if isinstance(answer, Exception):
        future.set_exception(answer)
    else:
        future.set_result(answer)
