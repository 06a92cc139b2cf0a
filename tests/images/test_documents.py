"""PDF and office documents in a folder, converted in a program of their own."""

from __future__ import annotations

import io
import sqlite3
import zipfile
import zlib
from contextlib import closing

import pytest
from pptx import Presentation

from datasette_embeddings.config import CollectionConfig
from datasette_embeddings.documents import Document, Failure
from datasette_embeddings.errors import SourceError
from datasette_embeddings.sources import (
    conversion_process,
    converted_texts,
    converters,
    reading,
)
from datasette_embeddings.sources.from_config import source_from_config


@pytest.fixture(autouse=True)
def kept(tmp_path_factory, monkeypatch):
    """The folder of converted texts, an empty one."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    return converted_texts.folder()


WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"


def pdf(*pages):
    """A PDF with a line of text on each page."""
    kids = " ".join(f"{4 + 2 * number} 0 R" for number in range(len(pages)))
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        f"<</Type/Pages/Kids[{kids}]/Count {len(pages)}>>".encode(),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    for number, text in enumerate(pages):
        page = "<</Type/Page/MediaBox[0 0 600 200]/Parent 2 0 R/Contents"
        font = "/Resources<</Font<</F1 3 0 R>>>>"
        objects.append(f"{page} {5 + 2 * number} 0 R{font}>>".encode())
        drawn = (
            text
            if isinstance(text, bytes)
            else f"BT /F1 24 Tf 50 99 Td ({text}) Tj ET".encode()
        )
        packed = zlib.compress(drawn)
        head = b"<</Length %d/Filter/FlateDecode>>" % len(packed)
        objects.append(b"%b\nstream\n%b\nendstream" % (head, packed))
    file, starts = io.BytesIO(b"%PDF-1.7\n"), []
    file.seek(0, io.SEEK_END)
    for number, each in enumerate(objects, 1):
        starts.append(file.tell())
        file.write(b"%d 0 obj\n%b\nendobj\n" % (number, each))
    end = file.tell()
    table = b"".join(b"%010d 00000 n \n" % start for start in starts)
    file.write(b"xref\n0 %d\n0000000000 65535 f \n%b" % (len(starts) + 1, table))
    file.write(b"trailer\n<</Root 1 0 R/Size %d>>\n" % (len(starts) + 1))
    file.write(b"startxref\n%d\n%%%%EOF" % end)
    return file.getvalue()


def archive(**files):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in files.items():
            packed.writestr(name, content)
    return file.getvalue()


def word(heading, text):
    style = '<w:pPr><w:pStyle w:val="Heading1"/></w:pPr>'
    paragraphs = f"<w:p>{style}<w:r><w:t>{heading}</w:t></w:r></w:p>"
    paragraphs += f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>"
    target = f'Type="{OFFICE}/officeDocument" Target="word/document.xml"'
    kind = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
    return archive(
        **{
            "[Content_Types].xml": f'<Types xmlns="{PACKAGE}/content-types">'
            f'<Override PartName="/word/document.xml" ContentType="{kind}.main+xml"/>'
            "</Types>",
            "_rels/.rels": f'<Relationships xmlns="{PACKAGE}/relationships">'
            f'<Relationship Id="r1" {target}/></Relationships>',
            "word/document.xml": f'<w:document xmlns:w="{WORD}"><w:body>{paragraphs}'
            "</w:body></w:document>",
        }
    )


def slides(title, text):
    presentation = Presentation()
    slide = presentation.slides.add_slide(presentation.slide_layouts[1])
    slide.shapes.title.text = title
    slide.placeholders[1].text = text
    file = io.BytesIO()
    presentation.save(file)
    return file.getvalue()


def book(title, text):
    container = '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container">'
    purl = "http://purl.org/dc/elements/1.1/"
    return archive(
        **{
            "mimetype": "application/epub+zip",
            "META-INF/container.xml": f"{container}<rootfiles><rootfile full-path="
            '"book.opf" media-type="application/oebps-package+xml"/></rootfiles>'
            "</container>",
            "book.opf": '<package xmlns="http://www.idpf.org/2007/opf" version="3.0">'
            f'<metadata xmlns:dc="{purl}"><dc:title>{title}</dc:title></metadata>'
            '<manifest><item id="a" href="a.xhtml" media-type='
            '"application/xhtml+xml"/></manifest><spine><itemref idref="a"/></spine>'
            "</package>",
            "a.xhtml": f"<html><body><h1>{title}</h1><p>{text}</p></body></html>",
        }
    )


def read(folder, **config):
    with closing(sqlite3.connect(":memory:")) as conn:
        config = CollectionConfig(input=str(folder), **config)
        with reading.documents(conn, source_from_config(conn, config)) as found:
            return {each.id: each for each in found}


def test_documents_become_texts_with_their_headings(tmp_path):
    (tmp_path / "paper.PDF").write_bytes(pdf("Sourdough bread", "A second page"))
    (tmp_path / "unnamed").write_bytes(pdf("Bees"))
    (tmp_path / "tax.docx").write_bytes(word("Tax return", "What may be deducted."))
    (tmp_path / "talk.pptx").write_bytes(slides("Saturn", "It has rings."))
    (tmp_path / "novel.epub").write_bytes(book("Ships", "They sail."))
    found = read(tmp_path)
    assert {
        item_id: (each.title, each.metadata["kind"]) for item_id, each in found.items()
    } == {
        "novel.epub": ("Ships", "book"),
        "paper.PDF": ("paper", "pdf"),
        "talk.pptx": ("Saturn", "presentation"),
        "tax.docx": ("Tax return", "word"),
        "unnamed": ("unnamed", "pdf"),
    }
    assert found["tax.docx"].content == "# Tax return\n\nWhat may be deducted."
    assert found["paper.PDF"].content.split() == [
        *("Sourdough", "bread", "A", "second", "page")
    ]
    assert "It has rings." in found["talk.pptx"].content
    assert "They sail." in found["novel.epub"].content


def test_a_document_that_cannot_be_converted_fails_alone(tmp_path):
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.7 and no more")
    (tmp_path / "b.docx").write_bytes(b"PK no archive")
    (tmp_path / "c.docx").write_bytes(word("Fine", "text"))
    found = read(tmp_path)
    assert isinstance(found["c.docx"], Document)
    for name in ("a.pdf", "b.docx"):
        assert isinstance(found[name], Failure)
        assert found[name].error.startswith("The document cannot be converted: ")


def test_a_scan_is_a_document_without_content(tmp_path):
    (tmp_path / "scan.pdf").write_bytes(pdf(b""))
    assert read(tmp_path)["scan.pdf"].content.strip() == ""


def test_a_document_that_takes_too_long_fails_and_the_next_is_converted(monkeypatch):
    # A million marks on a page, which a converter puts in order
    marks = b"BT /F1 1 Tf " + b"1 0 0 1 9 9 Tm (a) Tj " * 1_000_000 + b"ET"
    with converters.DocumentConverter() as converter:
        converter.text(pdf("One"), ".pdf")
        with monkeypatch.context() as patch:
            patch.setattr(converters, "MAX_SECONDS", 0.5)
            with pytest.raises(SourceError, match="converted: it takes too long"):
                converter.text(pdf(marks), ".pdf")
        assert converter.text(pdf("Two"), ".pdf").strip() == "Two"


def test_a_document_that_unpacks_to_gigabytes_fails_before_it_is_unpacked(tmp_path):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        packed.writestr("word/document.xml", "x")
        packed.filelist[0].file_size = conversion_process.MAX_UNPACKED + 1
    (tmp_path / "a.docx").write_bytes(file.getvalue())
    assert "it unpacks to 500,000,001 bytes" in read(tmp_path)["a.docx"].error


def test_a_program_that_is_ended_is_started_again(tmp_path):
    with converters.DocumentConverter() as converter:
        assert converter.text(pdf("One"), ".pdf").strip() == "One"
        converter._process.kill()
        with pytest.raises(SourceError, match="it ends the converter"):
            converter.text(pdf("Two"), ".pdf")
        assert converter.text(pdf("Three"), ".pdf").strip() == "Three"
        process = converter._process
    assert process.poll() is not None


def test_modules_of_the_working_directory_are_not_imported(tmp_path, monkeypatch):
    (tmp_path / "markitdown.py").write_text("raise SystemExit(9)")
    (tmp_path / "a.pdf").write_bytes(pdf("Bees"))
    monkeypatch.chdir(tmp_path)
    assert read(tmp_path, glob=("*.pdf",))["a.pdf"].content.strip() == "Bees"


def test_a_document_that_did_not_change_is_not_converted_again(
    tmp_path, kept, monkeypatch
):
    (tmp_path / "a.pdf").write_bytes(pdf("Bees"))
    first = read(tmp_path)["a.pdf"]
    monkeypatch.setattr(converters, "PROGRAM", "no_program")
    assert read(tmp_path)["a.pdf"] == first
    [path] = kept.iterdir()
    assert (path.stat().st_mode & 0o77, kept.stat().st_mode & 0o77) == (0, 0)
    path.write_bytes(b"\xff")
    (tmp_path / "b.pdf").write_bytes(pdf("Wasps"))
    assert all(isinstance(each, Failure) for each in read(tmp_path).values())


def test_only_so_many_texts_are_kept(tmp_path, kept, monkeypatch):
    monkeypatch.setattr(converted_texts, "MOST_FILES", 2)
    for number in range(4):
        (tmp_path / f"{number}.docx").write_bytes(word(f"Heading {number}", "text"))
    assert len(read(tmp_path)) == 4
    assert len(list(kept.iterdir())) == 2


def test_documents_are_converted_where_no_text_can_be_kept(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with converters.DocumentConverter() as converter:
        assert converter.text(pdf("Bees"), ".pdf").strip() == "Bees"


@pytest.mark.parametrize("text", ["a\r\nb\rc\n", "", "\ud800"], ids=ascii)
def test_a_text_is_kept_as_it_is_or_not_at_all(kept, text):
    path = kept / "a.txt"
    converted_texts.write(path, text)
    expected = None if text == "\ud800" else text
    assert converted_texts.read(path) == expected
