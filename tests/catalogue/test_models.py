"""Catalogue, rows 113 to 115: models from the hub, cut short, changed or out of reach.

The hub is a server on 127.0.0.1 which answers as the real one does; simsearch runs in a process
of its own, because a hub client reads its settings when it is first imported.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import resource
import shutil
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import PREFIX, Outcome, Run, Write
from conftest import write_tiny_encoder

from simsearch.encoder import Encoder

NAME = "acme/tiny"
WEIGHTS = "model.safetensors"
# The hub keeps large files apart; which are large is told here by their names.
LARGE = (".safetensors", ".bin")


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def git_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@dataclass
class FakeHub:
    """One model in one version; `requests` are those that were made, as METHOD PATH.

    `send_weights` may send the weights in another way than the hub.
    """

    files: dict[str, bytes]
    requests: list[str] = field(default_factory=list)
    send_weights: Callable[[BaseHTTPRequestHandler, bytes], None] | None = None

    @property
    def commit(self) -> str:
        listing = json.dumps({name: sha256(self.files[name]) for name in sorted(self.files)})
        return hashlib.sha1(listing.encode()).hexdigest()

    def about(self) -> dict[str, Any]:
        return {
            "_id": "0",
            "id": NAME,
            "modelId": NAME,
            "sha": self.commit,
            "private": False,
            "tags": [],
            "downloads": 0,
            "siblings": [{"rfilename": name} for name in self.files],
        }

    def tree(self) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = []
        for name, content in self.files.items():
            entry = {"type": "file", "path": name, "size": len(content), "oid": git_sha1(content)}
            if name.endswith(LARGE):
                lfs = {"oid": sha256(content), "size": len(content), "pointerSize": 134}
                entry |= {"lfs": lfs}
            entries.append(entry)
        return entries

    def asked_for(self, ending: str) -> list[str]:
        return [request for request in self.requests if request.endswith(ending)]


class HubHandler(BaseHTTPRequestHandler):
    """The addresses of the hub that its client asks when it fetches a snapshot."""

    protocol_version = "HTTP/1.1"
    hub: FakeHub

    def __init__(self, *arguments: Any, hub: FakeHub) -> None:
        self.hub = hub
        super().__init__(*arguments)

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, format: str, *arguments: Any) -> None:
        pass

    def _answer(self) -> None:
        path = self.path.split("?")[0]
        self.hub.requests.append(f"{self.command} {path}")
        api, files = f"/api/models/{NAME}", f"/{NAME}/resolve/{self.hub.commit}/"
        if path == f"{api}/revision/main":
            self._send(json.dumps(self.hub.about()).encode())
        elif path == f"{api}/tree/{self.hub.commit}":
            self._send(json.dumps(self.hub.tree()).encode())
        elif path.startswith(files) and path.removeprefix(files) in self.hub.files:
            self._send_file(path.removeprefix(files))
        else:
            self._send(b"", status=404, X_Error_Code="RepoNotFound")

    def _send(self, content: bytes, *, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def _send_file(self, name: str) -> None:
        content = self.hub.files[name]
        headers = {"X_Repo_Commit": self.hub.commit, "ETag": f'"{git_sha1(content)}"'}
        if name.endswith(LARGE):
            headers |= {"X_Linked_Etag": f'"{sha256(content)}"', "X_Linked_Size": str(len(content))}
        if name == WEIGHTS and self.command == "GET" and self.hub.send_weights is not None:
            self.hub.send_weights(self, content)
            return
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        headers["Content_Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self._send(content[start:], status=206 if start else 200, **headers)


@contextlib.contextmanager
def serving(hub: FakeHub) -> Iterator[str]:
    """Serve the hub, and give its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(HubHandler, hub=hub))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass(frozen=True, slots=True)
class Machine:
    """Where simsearch runs: a hub's cache, and the address of the hub."""

    home: Path
    endpoint: str

    def run(self, *arguments: str | Path, **settings: str) -> Outcome:
        """Run `simsearch` in a process of its own, which is allowed to ask the hub."""
        kept = {name: os.environ[name] for name in os.environ if not name.startswith("HF_")}
        hub = {"HF_HOME": str(self.home), "HF_ENDPOINT": self.endpoint, "HF_HUB_DISABLE_XET": "1"}
        finished = subprocess.run(
            [sys.executable, "-m", "simsearch", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=300,
            env={**kept, **hub, **settings},
        )
        return Outcome(finished.returncode, finished.stdout, finished.stderr)

    def encode(self, **settings: str) -> Outcome:
        return self.run("encode", "my card", "--encoder", NAME, **settings)

    @property
    def snapshot(self) -> Path:
        (found,) = self.home.glob("hub/models--acme--tiny/snapshots/*")
        return found

    def at(self, endpoint: str) -> Machine:
        return Machine(self.home, endpoint)


def embedding(outcome: Outcome) -> np.ndarray:
    assert (outcome.code, outcome.err) == (0, ""), outcome
    return np.array(outcome.object["embedding"], dtype=np.float32)


def contents(model: Path) -> dict[str, bytes]:
    files = (path for path in model.rglob("*") if path.is_file())
    return {path.relative_to(model).as_posix(): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def files(tiny_encoder_dir: Path) -> dict[str, bytes]:
    """What lies on the hub: the tiny encoder, and what often lies beside one."""
    beside = {
        "pytorch_model.bin": b"a pickle",
        "modeling_evil.py": b"raise SystemExit('ran')",
        "1_Pooling/evil.py": b"raise SystemExit('ran')",
        "README.md": b"# tiny",
        "simsearch.json": b'{"format": 1, "trained_dims": [16]}',
    }
    return contents(tiny_encoder_dir) | beside


@pytest.fixture
def hub(files: dict[str, bytes]) -> FakeHub:
    return FakeHub(dict(files))


@pytest.fixture
def machine(hub: FakeHub, tmp_path: Path) -> Iterator[Machine]:
    """One that has never asked the hub."""
    with serving(hub) as endpoint:
        yield Machine(tmp_path / "home", endpoint)


@pytest.fixture(scope="module")
def first_use(
    files: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[str], Outcome]:
    """The cache that the first use of the model leaves, its requests, and what it printed."""
    hub, home = FakeHub(files), tmp_path_factory.mktemp("hub") / "home"
    with serving(hub) as endpoint:
        outcome = Machine(home, endpoint).encode()
    return home, hub.requests, outcome


@pytest.fixture
def used(machine: Machine, first_use: tuple[Path, list[str], Outcome]) -> Machine:
    """One that has the model in its cache."""
    shutil.copytree(first_use[0], machine.home, symlinks=True)
    return machine


def test_a_hub_name_encodes_like_the_directory_of_the_same_files(
    first_use: tuple[Path, list[str], Outcome], tiny_encoder_dir: Path
) -> None:
    (expected,) = Encoder.load(tiny_encoder_dir).encode(["my card"])
    np.testing.assert_allclose(embedding(first_use[2]), expected, atol=1e-6)


def test_code_and_pickles_on_the_hub_are_never_asked_for(
    first_use: tuple[Path, list[str], Outcome],
) -> None:
    fetched = {request.rpartition("/")[2] for request in first_use[1] if "/resolve/" in request}
    assert fetched == {
        "config.json",  # and that of 1_Pooling
        "model.safetensors",
        "modules.json",
        "sentence_bert_config.json",
        "simsearch.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }


def test_the_second_use_asks_the_hub_for_nothing(
    hub: FakeHub, used: Machine, first_use: tuple[Path, list[str], Outcome]
) -> None:
    np.testing.assert_array_equal(embedding(used.encode()), embedding(first_use[2]))
    assert hub.requests == []
    offline = embedding(used.encode(HF_HUB_OFFLINE="1"))
    np.testing.assert_array_equal(offline, embedding(first_use[2]))


def send_half(handler: BaseHTTPRequestHandler, content: bytes) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content[: len(content) // 2])
    handler.close_connection = True


def close_in_the_middle(handler: BaseHTTPRequestHandler, content: bytes) -> None:
    send_half(handler, content)
    handler.connection.shutdown(socket.SHUT_RDWR)


def reset_in_the_middle(handler: BaseHTTPRequestHandler, content: bytes) -> None:
    abort = struct.pack("ii", 1, 0)  # linger for no time: what is closed is reset
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, abort)
    send_half(handler, content)
    handler.rfile.close()
    handler.connection.close()


@pytest.mark.parametrize(
    ("cut", "reason"),
    [
        (close_in_the_middle, "peer closed connection without sending complete message body"),
        (reset_in_the_middle, "Connection reset by peer"),
    ],
)
def test_row_113_a_download_that_was_cut_short_is_one_line_and_the_next_run_completes_it(
    hub: FakeHub,
    machine: Machine,
    first_use: tuple[Path, list[str], Outcome],
    cut: Callable[[BaseHTTPRequestHandler, bytes], None],
    reason: str,
) -> None:
    hub.send_weights = cut
    message = machine.encode().refusal(7)
    assert message.startswith(f"{NAME} is neither a directory nor a model in the hub's cache, and")
    assert reason in message
    assert not (machine.snapshot / WEIGHTS).exists()
    assert list(machine.home.rglob("*.incomplete")) == []
    assert reason not in machine.encode(HF_HUB_OFFLINE="1").refusal(7)  # the half is not taken

    hub.send_weights = None
    hub.requests.clear()
    np.testing.assert_array_equal(embedding(machine.encode()), embedding(first_use[2]))
    # What is small may have been cut short with it: files are fetched side by side.
    wanted = f"GET /{NAME}/resolve/{hub.commit}/{WEIGHTS}"
    fetched = [each for each in hub.requests if each.startswith("GET") and each.endswith(WEIGHTS)]
    assert fetched == [wanted]


@pytest.mark.parametrize("lost", ["link", "blob"])
@pytest.mark.parametrize("name", [WEIGHTS, "1_Pooling/config.json"])
def test_row_113_half_a_snapshot_is_not_taken_for_the_model_and_completed(
    hub: FakeHub,
    used: Machine,
    first_use: tuple[Path, list[str], Outcome],
    lost: str,
    name: str,
) -> None:
    link = used.snapshot / name
    {"link": link, "blob": link.resolve()}[lost].unlink()
    assert used.encode(HF_HUB_OFFLINE="1").code == 7
    np.testing.assert_array_equal(embedding(used.encode()), embedding(first_use[2]))
    assert len(hub.asked_for(name)) in (1, 2)  # HEAD, and GET where the blob was lost
    assert hub.asked_for("tokenizer.json") == []


def test_row_113_weights_that_were_changed_in_the_cache_are_refused(
    hub: FakeHub, used: Machine, first_use: tuple[Path, list[str], Outcome]
) -> None:
    weights = used.snapshot / WEIGHTS
    blob = weights.resolve()
    data = bytearray(blob.read_bytes())
    data[-1] ^= 1
    blob.chmod(0o600)
    blob.write_bytes(bytes(data))
    for outcome in (
        used.encode(),
        used.encode(HF_HUB_OFFLINE="1"),
        used.run("model", "pull", NAME),
    ):
        assert outcome.refusal(7) == (
            f"{weights} is damaged: its SHA-256 is not the hub's (delete {blob}, and run "
            "`simsearch model pull` again)"
        )
    blob.unlink()
    pulled = used.run("model", "pull", NAME)
    assert (pulled.code, pulled.err) == (0, "")
    np.testing.assert_array_equal(embedding(used.encode()), embedding(first_use[2]))


def test_row_113_weights_that_come_changed_from_the_hub_are_refused(
    hub: FakeHub, machine: Machine
) -> None:
    def send_other_bytes(handler: BaseHTTPRequestHandler, content: bytes) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content[:-1] + bytes([content[-1] ^ 1]))

    hub.send_weights = send_other_bytes
    message = machine.encode().refusal(7)
    assert message.startswith(f"{machine.snapshot / WEIGHTS} is damaged: its SHA-256 is not the")


def test_pull_fetches_a_model_that_then_needs_no_hub(
    hub: FakeHub, machine: Machine, first_use: tuple[Path, list[str], Outcome]
) -> None:
    pulled = machine.run("model", "pull", NAME)
    assert (pulled.code, pulled.err) == (0, "")
    assert pulled.out == f"{NAME} is in {machine.snapshot}\n"
    assert machine.snapshot.name == hub.commit
    offline = machine.encode(HF_HUB_OFFLINE="1")
    np.testing.assert_array_equal(embedding(offline), embedding(first_use[2]))


def test_only_pull_takes_a_newer_version(
    hub: FakeHub,
    used: Machine,
    tmp_path: Path,
    first_use: tuple[Path, list[str], Outcome],
) -> None:
    old = used.snapshot
    other = write_tiny_encoder(tmp_path / "other", seed=1)
    newer = Encoder.load(other)  # which makes the export that the hub's copy of it needs
    hub.files[WEIGHTS] = (other / WEIGHTS).read_bytes()
    np.testing.assert_array_equal(embedding(used.encode()), embedding(first_use[2]))

    pulled = used.run("model", "pull", NAME, "--json")
    assert (pulled.code, pulled.err) == (0, "")
    assert pulled.object == {
        "model": NAME,
        "fingerprint": newer.fingerprint,
        "directory": str(old.with_name(hub.commit)),
    }
    np.testing.assert_allclose(embedding(used.encode()), newer.encode(["my card"])[0], atol=1e-6)


def test_pull_of_what_is_no_hub_name_is_wrong_usage(tmp_path: Path, used: Machine) -> None:
    message = used.run("model", "pull", tmp_path).refusal(2)
    assert message == f"{tmp_path} is no hub name (owner/model), or is a directory here"


@pytest.fixture
def nobody() -> str:
    """An address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    return f"http://127.0.0.1:{port}"


@pytest.fixture
def silent() -> Iterator[str]:
    """An address where connections are taken and nothing is ever said."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("reason", ["offline", "nobody", "silent", "proxy"])
def test_row_115_without_the_hub_one_line_says_so_and_names_pull(
    machine: Machine, nobody: str, silent: str, reason: str
) -> None:
    endpoint, settings, told = {
        "offline": (machine.endpoint, {"HF_HUB_OFFLINE": "1"}, "offline mode is enabled"),
        "nobody": (nobody, {}, "Connection refused"),
        "silent": (silent, {}, "timed out"),
        # The fake hub is no proxy: it does not connect anybody.
        "proxy": ("https://hub.invalid", {"HTTPS_PROXY": machine.endpoint}, "501"),
    }[reason]
    # How long a silent hub is waited for: tests/encoder/test_hub.py.
    message = machine.at(endpoint).encode(**settings).refusal(7)
    assert message.startswith(
        f"{NAME} is neither a directory nor a model in the hub's cache, and the hub did not give "
        "it (if a directory was meant, there is none; a model of the hub is fetched by `simsearch "
        f"model pull {NAME}` where there is a network): "
    )
    assert told in message


def test_row_115_offline_the_whole_command_takes_less_than_two_seconds_of_a_cpu(
    machine: Machine,
) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert machine.encode(HF_HUB_OFFLINE="1").code == 7
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2


@pytest.mark.parametrize("reason", ["offline", "nobody"])
def test_row_115_pull_does_not_pass_off_an_old_version_as_the_hubs(
    used: Machine, nobody: str, reason: str
) -> None:
    endpoint, settings = {
        "offline": (used.endpoint, {"HF_HUB_OFFLINE": "1"}),
        "nobody": (nobody, {}),
    }[reason]
    message = used.at(endpoint).run("model", "pull", NAME, **settings).refusal(7)
    assert message.startswith(f"the hub did not give {NAME}: ")
    assert used.at(endpoint).encode(**settings).code == 0  # which stays of use


def test_row_115_no_index_is_begun_with_an_encoder_that_is_not_there(
    machine: Machine, tmp_path: Path
) -> None:
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text('{"id": "a", "text": "my card"}\n')
    index = tmp_path / "index"
    message = machine.run(
        "index", corpus, "-i", index, "--encoder", NAME, HF_HUB_OFFLINE="1"
    ).refusal(7)
    assert f"`simsearch model pull {NAME}`" in message
    assert not index.exists()


def test_a_name_that_the_hub_does_not_know_is_one_line(machine: Machine) -> None:
    message = machine.run("encode", "my card", "--encoder", "acme/none").refusal(7)
    assert "404" in message


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda data: data[:-100], "truncated"),
        (lambda data: data[:4], "is not a safetensors file"),
        (lambda data: (100 << 30).to_bytes(8, "little") + data[8:], "header claims 107374182400"),
    ],
    ids=["cut at the end", "cut at the beginning", "100 GB of header"],
)
@pytest.mark.parametrize("command", ["encode", "index", "finetune"])
def test_row_114_a_damaged_weight_file_is_named_and_nothing_is_made(
    run: Run,
    write: Write,
    tmp_path: Path,
    tiny_encoder_dir: Path,
    damage: Callable[[bytes], bytes],
    told: str,
    command: str,
) -> None:
    model = shutil.copytree(tiny_encoder_dir, tmp_path / "model")
    weights = model / WEIGHTS
    weights.write_bytes(damage(weights.read_bytes()))
    corpus = write("corpus.jsonl", '{"id": "a", "text": "my card"}\n')
    pairs = [{"anchor": f"my card {n}", "positive": f"the cat {n}"} for n in range(40)]
    data = write("pairs.jsonl", "".join(json.dumps(pair) + "\n" for pair in pairs))
    target = tmp_path / "made"
    arguments: dict[str, list[str | Path]] = {
        "encode": ["encode", "my card"],
        "index": ["index", corpus, "-i", target],
        "finetune": ["finetune", data, "-o", target],
    }
    outcome = run(*arguments[command], "--encoder", model)
    message = outcome.err.splitlines()[-1]
    assert (outcome.code, outcome.out) == (7, "")
    assert message.startswith(f"{PREFIX}{weights}")
    assert told in message
    assert not target.exists()


def test_row_114_a_damaged_weight_file_is_told_in_one_line(
    run: Run, tmp_path: Path, tiny_encoder_dir: Path
) -> None:
    model = shutil.copytree(tiny_encoder_dir, tmp_path / "model")
    (model / WEIGHTS).write_bytes(b"short")
    assert run("encode", "my card", "--encoder", model).refusal(7).startswith(str(model))
