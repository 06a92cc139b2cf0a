"""The program that converts documents, one after another, for :mod:`converters`.

It reads from standard input the length and suffix of each, in a line, and its bytes.
It writes the length of a line of JSON, and that: the text, or why there is none.
"""

from __future__ import annotations

import io
import json
import sys
import zipfile
from typing import IO

if sys.platform != "win32":
    import resource

# Of virtual memory, a few times what large documents take
MAX_MEMORY = 4 * 2**30
# Of all files in an office document together, once unpacked
MAX_UNPACKED = 500_000_000
LONGEST_REASON = 200


def main() -> None:
    answers, sys.stdout = sys.stdout.buffer, sys.stderr
    _limit_memory()
    while line := sys.stdin.buffer.readline():
        length, suffix = line.decode().split()
        content = sys.stdin.buffer.read(int(length))
        try:
            answer = {"text": _converted(io.BytesIO(content), suffix)}
        except Exception as error:  # converters raise any
            reason = " ".join(str(error).split()) or type(error).__name__
            answer = {"error": reason[:LONGEST_REASON]}
        encoded = json.dumps(answer).encode()
        answers.write(b"%d\n%b" % (len(encoded), encoded))
        answers.flush()


def _limit_memory() -> None:
    if sys.platform != "win32":
        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))


def _converted(file: IO[bytes], suffix: str) -> str:
    """The text of the document in *file*, as Markdown where it has headings."""
    from markitdown import StreamInfo, converters

    if suffix != ".pdf":
        with zipfile.ZipFile(file) as archive:
            unpacked = sum(each.file_size for each in archive.infolist())
        if unpacked > MAX_UNPACKED:
            raise ValueError(f"it unpacks to {unpacked:,} bytes")
        file.seek(0)
    # By name: MarkItDown itself would load a model to guess what a file is
    converter = {
        ".pdf": converters.PdfConverter,
        ".docx": converters.DocxConverter,
        ".pptx": converters.PptxConverter,
        ".epub": converters.EpubConverter,
    }[suffix]
    found: str = converter().convert(file, StreamInfo(extension=suffix)).markdown
    return found


if __name__ == "__main__":
    main()
