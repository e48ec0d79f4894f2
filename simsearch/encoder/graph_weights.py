"""The weights of a graph that is too large for one file: all of them in one file beside it.

A graph file is a protobuf message, of at most 2 GB. What does not fit is kept outside, and the
graph says where, tensor by tensor. Both runtimes follow it to any file in the folder, older ones
to any file at all. So a graph that somebody else may have made is first asked what it names.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from simsearch.cache import remembered
from simsearch.errors import EncoderError

if TYPE_CHECKING:
    from onnx import TensorProto

# The limit of protobuf, in bytes.
LARGEST_GRAPH = 2**31 - 1
# What is smaller stays in the graph: sizes and axes, by which it is rewritten before it is run.
_SMALLEST_OUTSIDE = 1024
# ONNX asks for it, so that a tensor can be mapped into memory.
_PAGE = 4096
_CHUNK = 1 << 20
# The key under which a tensor names the file of its values.
_LOCATION = "location"


def gather_weights(source: Path, graph: Path, data: Path) -> None:
    """Write the graph `source` to `graph`, with its weights in `data`, all in one folder.

    `source`, which may be `graph` itself, and the files in which it keeps weights are deleted.
    """
    import onnx  # a tenth of a second, for large encoders only

    model = onnx.load(source, load_external_data=False)
    tensors = list(_tensors(model))
    uses = Counter(_place(tensor)[_LOCATION] for tensor in tensors if _is_outside(tensor))
    with data.open("xb") as file:
        for tensor in tensors:
            if not _is_outside(tensor) and len(tensor.raw_data) < _SMALLEST_OUTSIDE:
                continue
            file.write(bytes(-file.tell() % _PAGE))
            start = file.tell()
            if _is_outside(tensor):
                place = _place(tensor)
                given = source.with_name(place[_LOCATION])
                _copy(given, place, file)
                uses[given.name] -= 1
                if not uses[given.name]:  # now, or the disk would have to hold everything twice
                    given.unlink()
            else:
                file.write(tensor.raw_data)
            _keep_outside(tensor, data.name, start, file.tell() - start)
    source.unlink()
    graph.write_bytes(model.SerializeToString())


def weight_files(graph: Path) -> list[str]:
    """Return the names of the files that a graph keeps weights in, remembered per file state.

    Raises:
        EncoderError: it is no graph.
    """
    return list(json.loads(remembered("weights", [graph], lambda: json.dumps(_named(graph)))))


def _named(graph: Path) -> list[str]:
    # However the message is written, the key stands in it: without it nothing is outside, and
    # gigabytes need not be parsed.
    if not _holds(graph, _LOCATION.encode()):
        return []
    import onnx

    try:
        model = onnx.load(graph, load_external_data=False)
    except Exception as error:  # protobuf's own
        raise EncoderError(f"{graph} is no ONNX graph: {error}") from error
    entries = (entry for tensor in _tensors(model) for entry in tensor.external_data)
    return sorted({entry.value for entry in entries if entry.key == _LOCATION})


def _holds(path: Path, word: bytes) -> bool:
    seen = b""
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            seen = seen[1 - len(word) :] + chunk
            if word in seen:
                return True
    return False


def _tensors(message: Any) -> Iterator[TensorProto]:
    """Yield every tensor in a message, also those of nodes, of functions, of graphs in graphs."""
    from onnx import TensorProto

    if isinstance(message, TensorProto):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in [value] if hasattr(value, "ListFields") else value:
                yield from _tensors(part)


def _is_outside(tensor: TensorProto) -> bool:
    return tensor.data_location == tensor.EXTERNAL


def _place(tensor: TensorProto) -> dict[str, str]:
    """Return where the values of a tensor outside are: `location`, `offset` and `length`."""
    return {entry.key: entry.value for entry in tensor.external_data}


def _copy(given: Path, place: dict[str, str], target: BinaryIO) -> None:
    first = int(place.get("offset", 0))
    left = int(place.get("length", given.stat().st_size - first))
    with given.open("rb") as file:
        file.seek(first)
        while left and (chunk := file.read(min(left, _CHUNK))):
            target.write(chunk)
            left -= len(chunk)


def _keep_outside(tensor: TensorProto, name: str, offset: int, length: int) -> None:
    tensor.ClearField("raw_data")
    del tensor.external_data[:]
    tensor.data_location = tensor.EXTERNAL
    for key, value in ((_LOCATION, name), ("offset", offset), ("length", length)):
        tensor.external_data.add(key=key, value=str(value))
