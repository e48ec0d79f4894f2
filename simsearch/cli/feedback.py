"""Hits judged on a terminal: which of them are right, which are wrong."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from simsearch.cli.output import Output
from simsearch.errors import InvalidInput
from simsearch.wording import counted

if TYPE_CHECKING:
    from simsearch.search_index import SearchIndex

_QUESTION = "right ones? their numbers, wrong ones with a minus (1 -3), Enter for none: "


def refuse_no_terminal(output: Output, *, flag: str) -> None:
    """Refuse to ask where nobody can answer.

    Raises:
        InvalidInput: naming the commands that need no terminal.
    """
    if output.json_only:
        raise InvalidInput(
            f"{flag} asks a person: not with --json (record what is known with "
            "`simsearch judge QUERY ID --right -i INDEX_DIR`)"
        )
    if not (sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty()):
        raise InvalidInput(
            f"{flag} asks on a terminal, and this is none (record what is known with "
            "`simsearch judge QUERY ID --right -i INDEX_DIR`)"
        )


def ask_about(output: Output, index: "SearchIndex", query: str, ids: Sequence[str]) -> bool:
    """Ask which of the hits that were shown are right and wrong, and keep the answer.

    Returns false where there is nobody left to answer (the end of the input).
    """
    from simsearch.records import Judgement

    if not ids:
        return True
    while True:
        line = ask(_QUESTION)
        if line is None:
            return False
        try:
            numbers = read_numbers(line, most=len(ids))
        except ValueError as error:
            output.say(str(error))
            continue
        judgements = [Judgement(query, ids[abs(each) - 1], each > 0) for each in numbers]
        index.judge_many(judgements)
        if judgements:
            output.say(f"{counted(len(judgements), 'judgement')} kept")
        return True


def ask(question: str) -> str | None:
    """Ask on stderr and return the line of the answer; None at the end of the input."""
    print(question, end="", file=sys.stderr, flush=True)
    line = sys.stdin.readline()
    if not line:
        print(file=sys.stderr)
        return None
    return line


def read_numbers(line: str, *, most: int) -> list[int]:
    """Return the numbers in an answer, 1 to `most` or the same with a minus.

    Raises:
        ValueError: there is something else, or a number twice.
    """
    numbers = []
    for word in line.replace(",", " ").split():
        digits = word.removeprefix("-")
        number = int(digits) if digits.isascii() and digits.isdigit() else 0
        if not 1 <= number <= most:
            raise ValueError(f"a number must be 1..{most} or with a minus, got {word}")
        numbers.append(-number if word.startswith("-") else number)
    twice = next((each for each in numbers if [*map(abs, numbers)].count(abs(each)) > 1), None)
    if twice is not None:
        raise ValueError(f"{abs(twice)} stands there twice")
    return numbers
