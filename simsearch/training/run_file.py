"""A run's settings as a TOML file: what `finetune --config` reads, and what every run writes."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, get_args, get_origin, get_type_hints

import tomli_w

from simsearch.errors import InvalidInput
from simsearch.files import replace_file, translated_os_errors
from simsearch.formats import StdinCopy
from simsearch.formats.checks import nearest, quoted
from simsearch.formats.lines import check_regular_file, is_stdin
from simsearch.records import is_blank
from simsearch.training.config import AUTO, TrainingConfig

# Far more than the longest list of paths; what is larger is some other file.
_LARGEST: Final = 1 << 18
_TRAIN_SPLIT: Final = "train"
_TEST_SPLIT: Final = "test"
_POSITION: Final = re.compile(
    r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", re.DOTALL
)
_HEADER: Final = (
    "# The settings of a fine-tuning run. The same again:\n"
    "# simsearch finetune --config FILE -o MODEL_DIR\n\n"
)


@dataclass(frozen=True, slots=True)
class DataSource:
    """A file of examples, or a folder and a split of it, and what is minimised on it.

    `weight` is that of its gradient, `field` what a head of it is called (see `TrainingData`).
    """

    path: Path
    objective: str = AUTO
    split: str = _TRAIN_SPLIT
    weight: float | None = None
    field: str = ""

    @property
    def settings(self) -> tuple[str, float | None, str]:
        """What files have to have in common to be one data set."""
        return self.objective, self.weight, self.field


@dataclass(frozen=True, slots=True)
class RunSettings:
    """What a run is made of: training data, encoder, evaluation data and numbers.

    `encoder` is a hub name or a directory, None the default one. Without `evaluation` a part of
    the data is held out. `reading` is how the files were read, where not by default; it is kept
    with the run, but is no setting of it, and stands in no file of settings.
    """

    data: tuple[DataSource, ...]
    encoder: str | None
    evaluation: Path | None
    eval_split: str
    config: TrainingConfig
    reading: Mapping[str, Any] = field(default_factory=dict)


class _Type(StrEnum):
    """What a value must be, as a message says it."""

    STRING = "a string"
    INTEGER = "an integer"
    NUMBER = "a number"
    BOOLEAN = "true or false"
    STRINGS = "a list of strings"


def _type_of(hint: Any) -> _Type:
    """Return what stands in a file for a setting of this type; None is left out there."""
    if get_origin(hint) is tuple:
        return _Type.STRINGS
    options = get_args(hint) or (hint,)
    by_type = {bool: _Type.BOOLEAN, float: _Type.NUMBER, int: _Type.INTEGER}
    return next((by_type[option] for option in options if option in by_type), _Type.STRING)


_CONFIG: Final = {name: _type_of(hint) for name, hint in get_type_hints(TrainingConfig).items()}
_KEYS: Final = ("data", "encoder", "eval", "eval_split", *_CONFIG)
_SOURCE_KEYS: Final = tuple(field.name for field in fields(DataSource))


def read_run_file(path: str | os.PathLike[str]) -> RunSettings:
    """Read the settings of a run; what is not in the file has its default, and `data` is empty.

    A relative path is one from the folder of the file, and so is an encoder that is a directory
    there; `-` is stdin. A source without an objective has that of the run. Names of objectives
    are not looked up.

    Raises:
        NotFound: there is no such file.
        InvalidInput: it is no file, no TOML, or has a key or a value that no run has.
        SystemFailure: the operating system refused to read it.
    """
    path = Path(path)
    table = _read_table(path)
    _refuse_unknown(table, _KEYS, str(path))
    reader = _Reader(path)
    given = {name: kind for name, kind in _CONFIG.items() if name in table}
    values = {name: reader.value(table, name, kind) for name, kind in given.items()}
    try:
        config = TrainingConfig(**values)
    except InvalidInput as error:
        raise InvalidInput(f"{path}: {error}") from error
    return RunSettings(
        data=reader.sources(table.get("data", []), objective=config.objective),
        encoder=reader.encoder(table) if "encoder" in table else None,
        evaluation=reader.path(table, "eval") if "eval" in table else None,
        eval_split=reader.value(table, "eval_split", _Type.STRING, default=_TEST_SPLIT),
        config=config,
    )


def write_run_file(path: str | os.PathLike[str], settings: RunSettings) -> None:
    """Write settings so that `read_run_file` gives them back, with absolute paths.

    What is None is left out. A file that is there is replaced, whole.

    Raises:
        InvalidInput: the name of a file is no Unicode, and TOML is.
        SystemFailure: the operating system refused to write.
    """
    path = Path(path)
    text = _HEADER + tomli_w.dumps(_as_table(settings))
    try:
        content = text.encode("utf-8")
    except UnicodeEncodeError as error:
        line = text[: error.start].rpartition("\n")[2]
        raise InvalidInput(
            f"{path}: the file name in {quoted(line.strip())} goes on with a byte that is not "
            "UTF-8, and cannot be written down (rename that file)"
        ) from error
    with translated_os_errors(path), replace_file(path) as file:
        file.write(content)


class _Reader:
    """Takes checked values out of the tables of one file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._folder = file.absolute().parent

    def value(
        self,
        table: Mapping[str, Any],
        name: str,
        kind: _Type,
        *,
        default: Any = None,
        entry: str = "",
    ) -> Any:
        """Return a value of the type that the key asks for, `default` if the key is not there."""
        if name not in table:
            return default
        value, key = table[name], f"{entry}{name}"
        if not _is(kind, value):
            raise InvalidInput(f"{self._file}: {key} must be {kind}, got {_shown(value)}")
        if type(value) is int and not -(1 << 63) <= value < 1 << 63:
            raise InvalidInput(f"{self._file}: {key} must fit into 64 bits, got {_shown(value)}")
        if kind is _Type.NUMBER:
            return float(value)
        return tuple(value) if kind is _Type.STRINGS else value

    def path(self, table: Mapping[str, Any], name: str, *, entry: str = "") -> Path:
        """Return a path, absolute."""
        given = self._filled(table, name, entry)
        return Path(given) if is_stdin(given) else self._folder / given

    def encoder(self, table: Mapping[str, Any]) -> str:
        """Return a hub name as it is, and a directory as an absolute path."""
        name = self._filled(table, "encoder", "")
        beside = self._folder / name
        is_path = name.startswith(("./", "../")) or os.path.isdir(beside)
        return str(beside) if is_path else name

    def sources(self, data: Any, *, objective: str) -> tuple[DataSource, ...]:
        """Return the sources of a list of paths and tables."""
        if not isinstance(data, list):
            raise InvalidInput(
                f"{self._file}: data must be a list of paths, or of tables ([[data]]), "
                f"got {_shown(data)}"
            )
        return tuple(
            self._source(source, f"data entry {number}: ", objective)
            for number, source in enumerate(data, start=1)
        )

    def _source(self, source: Any, entry: str, objective: str) -> DataSource:
        table = {"path": source} if isinstance(source, str) else source
        if not isinstance(table, dict):
            raise InvalidInput(
                f"{self._file}: {entry}must be a path or a table, got {_shown(source)}"
            )
        _refuse_unknown(table, _SOURCE_KEYS, f"{self._file}: {entry}".rstrip(": "))
        if "path" not in table:
            raise InvalidInput(f"{self._file}: {entry}path is missing (name a file or a folder)")
        text = _Type.STRING
        return DataSource(
            path=self.path(table, "path", entry=entry),
            objective=self.value(table, "objective", text, default=objective, entry=entry),
            split=self.value(table, "split", text, default=_TRAIN_SPLIT, entry=entry),
            weight=self.value(table, "weight", _Type.NUMBER, default=None, entry=entry),
            field=self.value(table, "field", text, default="", entry=entry),
        )

    def _filled(self, table: Mapping[str, Any], name: str, entry: str) -> str:
        text = str(self.value(table, name, _Type.STRING, entry=entry))
        if is_blank(text):
            raise InvalidInput(f"{self._file}: {entry}{name} is empty (name it, or leave it out)")
        return text


def _read_table(path: Path) -> dict[str, Any]:
    text = _read_text(path)
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _broken(path, text, str(error)) from error
    except RecursionError as error:
        raise InvalidInput(f"{path}: lists or tables are nested too deeply") from error
    except ValueError as error:  # Python itself refuses thousands of digits
        raise InvalidInput(f"{path}: a number has more digits than 64 bits can hold") from error


def _read_text(path: Path) -> str:
    if os.path.exists(path) and not os.path.isfile(path):  # a FIFO would let us wait for ever
        kind = "a directory" if os.path.isdir(path) else "not a regular file"
        raise InvalidInput(f"{path} is {kind}, expected a TOML file with the settings of a run")
    check_regular_file(path)
    with translated_os_errors(path), path.open("rb") as file:
        content = file.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise InvalidInput(
            f"{path} is larger than {_LARGEST >> 10} KiB, expected a TOML file with the settings "
            "of a run (training data is named in it: data = [...])"
        )
    try:
        return content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8")
        line, column = _end_of(before)
        raise InvalidInput(
            f"{path}:{line}:{column}: byte 0x{content[error.start]:02x} is not UTF-8, which TOML is"
        ) from error


def _broken(path: Path, text: str, message: str) -> InvalidInput:
    """Return the error for what is no TOML, its position before the reason."""
    found = _POSITION.fullmatch(message)
    if found is None:
        return InvalidInput(f"{path}: {message}")
    reason, *position = found.groups()
    line, column = position if position[0] else _end_of(text)
    return InvalidInput(f"{path}:{line}:{column}: {reason}")


def _end_of(text: str) -> tuple[int, int]:
    """Return line and column, from 1, of what would follow a text."""
    return text.count("\n") + 1, len(text) - (text.rfind("\n") + 1) + 1


def _refuse_unknown(table: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    known = list(known)
    for name in table:
        if name not in known:
            near = nearest(name, known)
            advice = f"did you mean {near!r}?" if near else f"there are: {', '.join(known)}"
            raise InvalidInput(f"{where}: unknown key {quoted(name)} ({advice})")


def _is(kind: _Type, value: Any) -> bool:
    if kind is _Type.STRINGS:
        return isinstance(value, list) and all(isinstance(each, str) for each in value)
    if kind is _Type.NUMBER:
        return type(value) in (int, float) and value == value  # nan is not itself
    types = {_Type.STRING: str, _Type.INTEGER: int, _Type.BOOLEAN: bool}
    return type(value) is types[kind]  # true is an int to Python


def _shown(value: Any) -> str:
    """Return what a value of TOML is called, with the value where it is short."""
    if isinstance(value, bool):
        return f"the boolean {str(value).lower()}"
    if isinstance(value, str):
        return f"the string {quoted(value)}"
    if isinstance(value, float):
        return f"the float {value}"
    if isinstance(value, int):
        bits = value.bit_length()
        return f"the integer {value}" if bits <= 64 else f"an integer of {bits} bits"
    if isinstance(value, list):
        return "a list"
    return "a table" if isinstance(value, dict) else "a date or time"


def _as_table(settings: RunSettings) -> dict[str, Any]:
    encoder = settings.encoder
    if encoder is not None and os.path.isdir(encoder):
        encoder = str(Path(encoder).absolute())
    config = {name: getattr(settings.config, name) for name in _CONFIG}
    table = {
        "encoder": encoder,
        "data": _sources_as_lists(settings),
        "eval": None if settings.evaluation is None else _absolute(settings.evaluation),
        "eval_split": settings.eval_split,
        **config,
    }
    return {name: value for name, value in table.items() if value is not None}


def _sources_as_lists(settings: RunSettings) -> list[Any]:
    """Return paths alone, if that says all there is to say of every source."""
    objective = settings.config.objective
    if all(source == DataSource(source.path, objective) for source in settings.data):
        return [_absolute(source.path) for source in settings.data]
    return [_source_as_table(source) for source in settings.data]


def _source_as_table(source: DataSource) -> dict[str, Any]:
    table: dict[str, Any] = {
        "path": _absolute(source.path),
        "objective": source.objective,
        "split": source.split,
    }
    if source.weight is not None:
        table["weight"] = source.weight
    if source.field:
        table["field"] = source.field
    return table


def _absolute(path: Path) -> str:
    """Return an absolute path; `-` for stdin, which a second run has to be given again."""
    return "-" if is_stdin(path) or isinstance(path, StdinCopy) else str(path.absolute())
