"""The kinds of files: which are read as text, which are converted, and which are not.

A kind is stored with each item, and a summary counts the files of each that a run left
out.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import PurePath

from datasette_embeddings.distribution import install_command

MARKDOWN, RST, HTML, CODE, TEXT = "markdown", "rst", "html", "code", "text"
PICTURE, BINARY = "picture", "binary"
#: Why a file is left out, whatever its kind
HIDDEN, IGNORED, EXCLUDED = "hidden", "ignored", "excluded"

SUFFIXES = {
    MARKDOWN: "md markdown mdown mkd mkdn mdx qmd rmd",
    RST: "rst",
    HTML: "html htm xhtml",
    CODE: (
        "asm awk bash bat c cc clj cljs cmake cpp cs css cxx d dart diff el elm erl ex "
        "exs f90 fs fsx go gradle graphql groovy h hpp hrl hs java jl js jsx kt kts "
        "less lisp lua m mjs ml mli nim nix pas patch php pl pm proto ps1 py pyi pyx r "
        "rb rkt rs sass scala scm scss sh sql svelte swift tcl tf ts tsx v vb vim vue "
        "zig zsh"
    ),
    TEXT: (
        "adoc asciidoc cfg csv ini json jsonl log org tex text toml tsv txt xml yaml "
        "yml"
    ),
    "pdf": "pdf",
    "word": "docx",
    "presentation": "pptx",
    "book": "epub",
    PICTURE: "avif bmp gif heic heif jpeg jpg png tif tiff webp",
    "drawing": "ai eps ico psd svg",
    "spreadsheet": "numbers ods xls xlsb xlsm xlsx",
    "audio": "aac aiff flac m4a mid midi mp3 oga ogg opus wav wma",
    "video": "avi flv m4v mkv mov mp4 mpeg mpg webm wmv",
    "archive": "7z bz2 dmg gz iso jar rar tar tgz whl xz zip zst",
    "database": "db duckdb mdb parquet sqlite sqlite3",
    "font": "eot otf ttf woff woff2",
    BINARY: "a bin class dll doc dylib exe npy npz o odp odt onnx pkl ppt pt pyc rtf "
    "safetensors so wasm",
}
KINDS = {
    f".{suffix}": kind for kind, found in SUFFIXES.items() for suffix in found.split()
}
TEXTS = (MARKDOWN, RST, HTML, CODE, TEXT)
#: What a converter makes texts of, with the suffix by which it knows them
DOCUMENTS = {"pdf": ".pdf", "word": ".docx", "presentation": ".pptx", "book": ".epub"}
CONVERTER = "markitdown"

LABELS = {
    "pdf": "PDF",
    "word": "Word document",
    "audio": "audio file",
    BINARY: "file of another kind",
    IGNORED: "ignored by .gitignore",
}
NO_PLURAL = (HIDDEN, IGNORED, EXCLUDED, "__pycache__", "node_modules")


def kind_of(path: PurePath) -> str | None:
    """The kind that the name of a file tells, in any case; None if it tells none."""
    return KINDS.get(path.suffix.lower())


def has_converter() -> bool:
    """Whether the library is installed that documents are converted with."""
    return find_spec(CONVERTER) is not None


def described(left_out: Mapping[str, int]) -> str:
    """What was left out, the most first: ``240 pictures (…), 12 hidden``."""
    ordered = sorted(left_out.items(), key=lambda item: (-item[1], item[0]))
    # Said once, after the last of the documents
    documents = [kind for kind, _count in ordered if kind in DOCUMENTS]
    return ", ".join(
        f"{count:,} {_label(kind, count)}{_advice(kind, documents[-1:])}"
        for kind, count in ordered
    )


def _label(kind: str, count: int) -> str:
    label = LABELS.get(kind, kind)
    if count == 1 or kind in NO_PLURAL:
        return label
    return label.replace("file", "files", 1) if "file" in label else f"{label}s"


def _advice(kind: str, last_document: list[str]) -> str:
    """What to do to have files of *kind* embedded, if anything."""
    if kind == PICTURE:
        return " (choose a model that takes images, such as --model clip)"
    if kind == TEXT:
        return " (this collection has pictures; embed texts into another one)"
    if kind in last_document and not has_converter():
        return f" (to read them: {install_command(CONVERTER)})"
    return ""
