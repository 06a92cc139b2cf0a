"""Run whole processes: this package and its peers, in one environment."""

from __future__ import annotations

import os
import subprocess
import sysconfig
from collections.abc import Mapping
from pathlib import Path

SCRIPTS = Path(sysconfig.get_path("scripts"))


def datasette_environment(folder: Path) -> dict[str, str]:
    """Variables with which ``datasette`` starts without datasette-llm-embed.

    That peer of sql_cosine.py is a plugin, so every ``datasette`` would import it and,
    with it, all of llm.  An empty module in *folder* takes its target.
    """
    (folder / "datasette_llm_embed.py").touch()
    return {**os.environ, "PYTHONPATH": str(folder)}


def run(command: str, *arguments: str | Path, environment: Mapping[str, str]) -> str:
    """What a console script of this environment prints; an error ends the benchmark."""
    done = subprocess.run(
        [SCRIPTS / command, *arguments], env=environment, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout
