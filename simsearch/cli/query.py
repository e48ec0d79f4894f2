"""query: the documents nearest to a text."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simsearch.cli.explanation import explanation_fields, highlighted, reasons
from simsearch.cli.input import read_queries
from simsearch.cli.opened import searched_index
from simsearch.cli.options import MAX_K, IndexDir, K, Mode, Rerank, Where, bundled
from simsearch.cli.output import Output, clean, shorten
from simsearch.errors import InvalidInput
from simsearch.records import is_blank

if TYPE_CHECKING:
    from simsearch.records import Hit
    from simsearch.search_index import SearchIndex

_PART = 256  # queries that are encoded and searched together
_NO_QUERY = "give a query, or a file of them with --queries"


@bundled
def query(
    index_dir: IndexDir,
    output: Output,
    texts: Annotated[
        list[str] | None, typer.Argument(metavar="TEXT...", help="The query, or several.")
    ] = None,
    queries: Annotated[
        Path | None, typer.Option("--queries", help="A file with one query per line, or -.")
    ] = None,
    k: K = 10,
    where: Where = None,
    mode: Mode = None,
    diversity: Annotated[
        float,
        typer.Option(help="0 to 1: how far hits that are like those before give way to others."),
    ] = 0.0,
    group_by: Annotated[
        str | None, typer.Option("--group-by", metavar="FIELD", help="One hit for each value.")
    ] = None,
    min_probability: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Only hits that are so probably an answer."),
    ] = None,
    target_precision: Annotated[
        float | None,
        typer.Option(help="Only hits over the probability from which on such a share are answers."),
    ] = None,
    rerank: Annotated[
        Rerank | None,
        typer.Option(
            help="Compare the nearest with the query more closely: token by token, or by the pair "
            "scorer. Default: what `calibrate --rerank` found better on this index, else none."
        ),
    ] = None,
    rerank_top: Annotated[
        int | None,
        typer.Option("--rerank-top", min=1, max=MAX_K, metavar="N", help="So many of them."),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show what the score is made of, and by which words.")
    ] = False,
    feedback: Annotated[
        bool,
        typer.Option("--feedback", help="Ask which hits are right and wrong, and keep the answer."),
    ] = False,
) -> None:
    """Print the documents nearest to each TEXT, best first.

    With --min-probability or --target-precision perhaps none: no good answer is an answer, too.
    """
    if feedback:
        _check_feedback(output, queries)
    if not texts and queries is None:
        raise InvalidInput(_NO_QUERY)
    from simsearch.encoder import reading_by

    with searched_index(index_dir, output) as index:
        wanted = _Wanted(
            index,
            k,
            {"where": where, "mode": mode, "diversity": diversity, "group_by": group_by},
            min_probability=min_probability,
            target_precision=target_precision,
            rerank=rerank,
            rerank_top=rerank_top,
        )
        if wanted.threshold is not None:
            output.say(
                f"precision {target_precision:g}: hits from probability {wanted.threshold:.4f} on"
            )
        reads = reading_by(lambda: index.encoder) if wanted.encodes else None
        parts = _parts(texts or [], queries, reads)
        first = next(parts, None)
        if first is None:
            raise InvalidInput(_NO_QUERY)
        for part in itertools.chain([first], parts):
            found = wanted.find(part)
            if explain:
                found = [index.explain(text, hits) for text, hits in zip(part, found, strict=True)]
            for text, hits in zip(part, found, strict=True):
                if not output.json_only and len(first) > 1:
                    output.text(f"# {clean(text)}")
                _print_found(output, text, hits, wanted)
                if feedback:
                    feedback = _ask(output, index, text, hits)
            output.flush()  # whoever asks by a pipe waits for the answers


def _check_feedback(output: Output, queries: Path | None) -> None:
    if queries is not None:
        raise InvalidInput("--feedback asks after each query: name them, not with --queries")
    from simsearch.cli.feedback import refuse_no_terminal

    refuse_no_terminal(output, flag="--feedback")


def _ask(output: Output, index: "SearchIndex", query: str, hits: "list[Hit]") -> bool:
    """Ask about hits; return whether there is somebody to ask about the next ones."""
    from simsearch.cli.feedback import ask_about

    return ask_about(output, index, query, [hit.id for hit in hits])


def _print_found(output: Output, text: str, hits: "list[Hit]", wanted: "_Wanted") -> None:
    if output.json_only:
        shown = {} if wanted.threshold is None else {"threshold": wanted.threshold}
        output.result({"query": text, "hits": [hit_fields(hit) for hit in hits], **shown})
        return
    if not hits and wanted.least is not None:
        output.text("no good answer")
    elif not hits and not wanted.empty:  # which was said already
        output.say(wanted.why_none)
    print_hits(output, hits, query=text)


def _parts(
    texts: list[str], queries: Path | None, reads: Callable[[str], bool] | None
) -> Iterator[list[str]]:
    """Yield all queries in lists; a file, or a pipe, is read as the answers are printed."""
    for number, text in enumerate(texts, start=1):
        if reads is not None and not is_blank(text) and not reads(text):
            name = "query" if len(texts) == 1 else f"query {number}"
            raise InvalidInput(f"{name} holds nothing that the encoder reads")
    lines = () if queries is None else read_queries(queries, reads=reads)
    asked = itertools.chain(texts, lines)
    while part := list(itertools.islice(asked, _PART)):
        yield part


class _Wanted:
    """What is wanted of every query, as the command line and the index say."""

    def __init__(
        self,
        index: "SearchIndex",
        k: int,
        search: dict[str, Any],
        *,
        min_probability: float | None,
        target_precision: float | None,
        rerank: Rerank | None,
        rerank_top: int | None,
    ) -> None:
        from simsearch.search_index import RerankChoice

        self._index = index
        self._k = k
        # The probability from which on the target precision is reached.
        threshold = None if target_precision is None else index.threshold(target_precision)
        least = [each for each in (threshold, min_probability) if each is not None]
        self.least = max(least) if least else None
        self.threshold = None if target_precision is None else self.least
        if search["diversity"] and rerank not in (None, Rerank.NONE):
            raise InvalidInput(
                "--diversity takes hits that are unlike those before, and --rerank would put them "
                "in another order (give one of the two)"
            )
        # Nothing that words alone have found is reranked, nor what is to be unlike.
        choice = index.mode_choice()
        self._mode = mode = search["mode"] or choice.mode
        # All of them are searched so, also if another way becomes the default meanwhile.
        self._fusion = choice.fusion if mode == "hybrid" else None
        self._search = {**search, "mode": mode, "fusion": self._fusion}
        plain = mode == "lexical" or search["diversity"]
        kept = RerankChoice() if plain else index.rerank_choice().for_search(mode)
        self._by = kept.by if rerank is None else rerank.value
        if rerank_top is not None and self._by == "none":
            raise InvalidInput(
                "--rerank-top says how many hits are reranked, and none are here "
                "(name --rerank maxsim or pair, or leave --rerank-top out)"
            )
        self._top = kept.top if rerank_top is None else rerank_top

    @property
    def empty(self) -> bool:
        """Whether there is no document that could be a hit."""
        return not self._index.count()

    @property
    def encodes(self) -> bool:
        """Whether the encoder has to read the queries."""
        return bool(self._mode != "lexical" or self._by != "none")

    @property
    def why_none(self) -> str:
        """What to say of a query without hits."""
        passing = "" if self._search["where"] is None else " that passes the filter"
        sharing = " shares a word with the query" if self._mode == "lexical" else ""
        return f"no document{passing}{sharing}"

    def find(self, queries: list[str]) -> "list[list[Hit]]":
        """Return the hits of each query."""
        k = self._k if self._by == "none" else max(self._k, self._top)
        found = self._index.search_many(queries, k, min_probability=self.least, **self._search)
        reranked = self._index.rerank(queries, found, by=self._by, fusion=self._fusion)
        return [hits[: self._k] for hits in reranked]


def print_hits(output: Output, hits: "list[Hit]", *, query: str = "") -> None:
    """Print hits for a person; of one that is explained, the parts of its score and why."""
    for rank, hit in enumerate(hits, start=1):
        chance = "" if hit.probability is None else f"  {hit.probability:4.0%}"
        output.text(f"{rank:3}  {hit.score:.4f}{chance}  {clean(hit.id)}")
        if hit.explanation is None:
            output.text(f"             {shown_text(hit)}")
        else:
            output.text(f"             {highlighted(hit, hit.explanation, bold=output.bold)}")
            for reason in reasons(hit, hit.explanation, query):
                output.text(f"             {reason}")


def shown_text(hit: "Hit") -> str:
    """Return the beginning of what a hit says, of its passage where it has one."""
    title = f"{shorten(hit.title, 80)}: " if hit.title else ""
    place = hit.passage or (0, 0)
    return f"{title}{shorten(hit.text[slice(*place)] or hit.text)}"


def hit_fields(hit: "Hit") -> dict[str, Any]:
    """Return a hit as the JSON object of the command-line contract."""
    return {
        "id": hit.id,
        "score": hit.score,
        "probability": hit.probability,
        "text": hit.text,
        **({"title": hit.title} if hit.title else {}),
        "metadata": dict(hit.metadata),
        **({"passage": list(hit.passage)} if hit.passage else {}),
        "dense": hit.dense,
        "lexical": hit.lexical,
        "parts": dict(hit.parts),
        **({} if hit.explanation is None else {"explanation": explanation_fields(hit)}),
    }
