"""PDF and office documents as text: another program converts them, within limits.

Formats that describe pages can be made to take hours or all memory.  A program can be
ended where a function cannot.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from threading import Timer
from time import monotonic

from datasette_embeddings.errors import SourceError
from datasette_embeddings.sources import converted_texts

PROGRAM = "datasette_embeddings.sources.conversion_process"
# The folder that holds the package; Python looks for modules where it starts
FOLDER = Path(__file__).parents[2]
# About 500 pages of a PDF
MAX_SECONDS = 180.0


class DocumentConverter:
    """Converts documents in a program that starts with the first of them."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> DocumentConverter:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._process is not None:
            converted_texts.delete_oldest()
        self._end()

    def text(self, content: bytes, suffix: str) -> str:
        """The text of a document whose kind *suffix* tells; empty for a scanned PDF.

        :raises SourceError: if it cannot be converted, or takes too long.
        """
        path = converted_texts.path_of(content, suffix)
        text = converted_texts.read(path)
        if text is None:
            text = self._converted(content, suffix)
            converted_texts.write(path, text)
        return text

    def _converted(self, content: bytes, suffix: str) -> str:
        process = self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        start = monotonic()
        timer = Timer(MAX_SECONDS, process.kill)
        timer.start()
        try:
            process.stdin.write(b"%d %b\n" % (len(content), suffix.encode()))
            process.stdin.write(content)
            process.stdin.flush()
            length = process.stdout.readline()
            answer = json.loads(process.stdout.read(int(length)))
        except (OSError, ValueError) as error:
            self._end()
            is_late = monotonic() - start >= MAX_SECONDS
            reason = "it takes too long" if is_late else "it ends the converter"
            raise SourceError(f"The document cannot be converted: {reason}") from error
        finally:
            timer.cancel()
        if "error" in answer:
            raise SourceError(f"The document cannot be converted: {answer['error']}")
        return str(answer["text"])

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", PROGRAM],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd=FOLDER,
            )
        return self._process

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            # Closes its pipes, too
            process.communicate()
