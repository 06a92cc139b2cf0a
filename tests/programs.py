"""llm and our command line, run in the process of the tests."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from datasette_embeddings.cli.commands import embeddings
from tests.hub import MODEL_ID, reference_folder


def run(command, *arguments) -> Result:
    """A command of click, which must succeed."""
    with warnings.catch_warnings():
        # As in a process of its own, where warnings are no errors
        warnings.simplefilter("ignore")
        done = CliRunner().invoke(command, [str(each) for each in arguments])
    assert done.exit_code == 0, done.output
    return done


def ours(*arguments) -> Result:
    """`datasette embeddings` with *arguments*."""
    return run(embeddings, *arguments)


def write_llm_home(folder: Path) -> None:
    """Lay out *folder* for :func:`go_home`: no settings, and the fp32 weights.

    sentence-transformers takes a model from the working directory before it asks a hub.
    """
    (folder / "llm").mkdir()
    (folder / MODEL_ID.rpartition("/")[2]).symlink_to(reference_folder())


def go_home(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let llm have what :func:`write_llm_home` wrote, and nothing else."""
    patch.setenv("LLM_USER_PATH", str(folder / "llm"))
    patch.chdir(folder)
