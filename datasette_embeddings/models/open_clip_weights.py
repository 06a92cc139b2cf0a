"""Which weights open_clip knows, and where they lie here; nothing of it is imported.

It takes seconds to import, and whether a model is here is asked often.  So its own
table is read as the text that it is, and the hub's cache is looked at.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from datasette_embeddings.errors import InvalidInputError, ModelError
from datasette_embeddings.models.base import ModelSpec

CONFIG_FILE = "open_clip_config.json"
SAFE_WEIGHTS, WEIGHTS = "open_clip_model.safetensors", "open_clip_pytorch_model.bin"
# What open_clip takes for weights in a folder
WEIGHT_PATTERNS = ("*.safetensors", "*.bin", "*.pth")
# An architecture by another name, with the activation that some weights want
QUICK_GELU = "-quickgelu"
# What a text tower of transformers needs of the hub, by the setting that names it
PARTS = {"hf_tokenizer_name": "tokenizer_config.json", "hf_model_name": "config.json"}


@dataclass(frozen=True)
class Checkpoint:
    """Weights that open_clip knows by *architecture* and *tag*."""

    architecture: str
    tag: str
    #: Where the hub has them
    repository: str
    #: Their file there, where it is not called as usual
    file: str | None

    @property
    def files(self) -> tuple[str, ...]:
        """The names that their file may have, the best first."""
        if self.file is None:
            return SAFE_WEIGHTS, WEIGHTS
        return str(Path(self.file).with_suffix(".safetensors")), self.file


def library_folder() -> Path | None:
    """Where open_clip is installed, if it is."""
    spec = find_spec("open_clip")
    return Path(spec.origin).parent if spec and spec.origin else None


def checkpoint(architecture: str, tag: str) -> Checkpoint:
    """The weights of that name.

    :raises InvalidInputError: if open_clip knows none, with what is meant perhaps.
    """
    table = known_weights()
    plain = architecture.removesuffix(QUICK_GELU)
    if plain not in table:
        raise InvalidInputError(
            f"expected an architecture that open_clip has weights for, found "
            f"{architecture!r}{_perhaps(plain, table)}"
        )
    # As open_clip itself reads a tag
    cleaned = tag.lower().replace("-", "_")
    if cleaned not in table[plain]:
        raise InvalidInputError(
            f"expected weights of {architecture}, one of {', '.join(table[plain])}; "
            f"found {tag!r}"
        )
    repository, _slash, file = table[plain][cleaned].rpartition("/")
    return Checkpoint(architecture, cleaned, repository, file or None)


def _perhaps(name: str, known: Mapping[str, object]) -> str:
    near = get_close_matches(name, known, cutoff=0.5)
    return f"; did you mean {' or '.join(near)}?" if near else ""


@lru_cache(maxsize=1)
def known_weights() -> Mapping[str, Mapping[str, str]]:
    """The hub's place of each of open_clip's weights, by architecture and tag.

    :raises ModelError: if its table has another form than in 2.30 to 3.3.
    """
    folder = library_folder()
    if folder is None:
        return {}
    tree = ast.parse((folder / "pretrained.py").read_text("utf-8"))
    named: dict[str, ast.expr] = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    table = named.get("_PRETRAINED")
    if not isinstance(table, ast.Dict):
        raise ModelError(
            f"Expected a table of weights in {folder / 'pretrained.py'}, found none; "
            "another release of open-clip-torch may have one"
        )
    found = {}
    for key, value in zip(table.keys, table.values, strict=True):
        tags = named.get(value.id) if isinstance(value, ast.Name) else value
        if isinstance(key, ast.Constant) and isinstance(tags, ast.Call):
            found[str(key.value)] = dict(_places(tags))
    return found


def _places(tags: ast.Call) -> Iterator[tuple[str, str]]:
    """Tag and place of ``dict(tag=_pcfg(hf_hub="place"), …)``."""
    for tag in tags.keywords:
        for setting in getattr(tag.value, "keywords", ()):
            if tag.arg and setting.arg == "hf_hub":
                yield tag.arg, ast.literal_eval(setting.value)


def cached_ids() -> list[str]:
    """The ids of the weights that open_clip knows and that are in the hub's cache."""
    if library_folder() is None:
        return []
    return [
        f"open_clip/{architecture}/{tag}"
        for architecture, tags in known_weights().items()
        for tag in tags
        if cached_weights(checkpoint(architecture, tag), None) is not None
    ]


def cached_weights(weights: Checkpoint, revision: str | None) -> Path | None:
    """The file with the *weights*, if it is in the hub's cache."""
    for name in weights.files:
        found = _cached(weights.repository, name, revision)
        if found is not None:
            return found
    return None


def _cached(repository: str, name: str, revision: str | None) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repository, name, revision=revision)
    return Path(found) if isinstance(found, str) else None


def missing_part(architecture: str) -> str | None:
    """A repository that *architecture* needs besides its weights and that is not here.

    Some have a text tower or a tokenizer of another library's.
    """
    folder = library_folder()
    if folder is None:
        return None
    try:
        config = json.loads(
            (folder / "model_configs" / f"{architecture}.json").read_text("utf-8")
        )
    except (OSError, ValueError):
        # A -quickgelu whose file is that of the other one; open_clip tells more
        return None
    for setting, file in PARTS.items():
        name = config.get("text_cfg", {}).get(setting)
        if name and _cached(name, file, None) is None:
            return str(name)
    return None


def fetched_weights(checkpoint: Checkpoint, revision: str | None) -> Path:
    """The file with the weights of *checkpoint*, from the hub if it is not here.

    :raises ModelError: saying why it cannot be had.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

    problem: Exception | None = None
    for name in checkpoint.files:
        try:
            return Path(hf_hub_download(checkpoint.repository, name, revision=revision))
        except EntryNotFoundError as error:
            # Also where nothing can be fetched at all; the next name tells the same
            problem = error
        except (HfHubHTTPError, OSError, ValueError) as error:
            problem = error
            break
    line = " ".join(str(problem).split())
    raise ModelError(
        f"The weights {checkpoint.architecture}/{checkpoint.tag} cannot be fetched "
        f"from {checkpoint.repository!r} on the hub: {line}"
    ) from problem


def check_config(spec: ModelSpec, folder: Path) -> None:
    """Nothing, if the config in *folder* asks for nothing that its owner must allow.

    :raises ModelError: if it would run code that came with it, or fetch a part.
    """
    try:
        config = json.loads((folder / CONFIG_FILE).read_text("utf-8"))
        texts = config["model_cfg"]["text_cfg"]
        options = texts.get("tokenizer_kwargs") or {}
        parts = [name for name in map(texts.get, PARTS) if name]
        asks_for_code = bool(options.get("trust_remote_code"))
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        # open_clip says what is wrong with it
        return
    if asks_for_code and not spec.config.trust_remote_code:
        raise ModelError(
            f"{folder / CONFIG_FILE} wants to run code of its own: if you trust it, "
            "set 'trust_remote_code: true' for it under models in the configuration"
        )
    missing = [name for name in parts if not is_here(name)]
    if missing and not spec.may_download:
        raise ModelError(
            f"The model in {folder} needs {missing[0]!r} of the hub, which is not "
            f"here; fetch it with: datasette embeddings models fetch {spec.model_id}"
        )


def is_here(name: str) -> bool:
    """Whether a text tower or tokenizer of the hub is a folder or in the cache."""
    return Path(name).is_dir() or any(
        _cached(name, file, None) is not None for file in PARTS.values()
    )


def has_weights(folder: Path) -> bool:
    """Whether *folder* holds a model in open_clip's own layout."""
    return (folder / CONFIG_FILE).is_file() and any(
        any(folder.glob(pattern)) for pattern in WEIGHT_PATTERNS
    )
