from __future__ import annotations

import io
import random
import re
import struct
import subprocess
import sys
import tempfile
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image, features

from datasette_embeddings import images
from datasette_embeddings.errors import InvalidInputError
from datasette_embeddings.images import decoded
from tests.drawings import COMBINATIONS, draw, file_of

# How to keep an upright image so that each EXIF orientation makes it upright again
KEPT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
ORIENTATION = 0x0112


def difference(found, expected):
    """By how much, of 255, two images differ in the mean."""
    assert found.mode == "RGB"
    assert found.size == expected.size
    one, other = (np.asarray(each.convert("RGB"), float) for each in (found, expected))
    return np.abs(one - other).mean()


def grey(values, dtype):
    return Image.fromarray(np.asarray(values, dtype=dtype))


@pytest.mark.parametrize(
    ("kind", "options", "most"),
    [
        ("PNG", {}, 0),
        ("BMP", {}, 0),
        ("TIFF", {}, 0),
        ("TIFF", {"compression": "tiff_lzw"}, 0),
        ("WEBP", {"lossless": True}, 0),
        ("WEBP", {"quality": 90}, 4),
        ("GIF", {}, 4),
        ("JPEG", {"quality": 95}, 5),
        ("JPEG", {"quality": 95, "progressive": True}, 5),
    ],
    ids=str,
)
def test_each_format_is_the_image_that_was_saved(image, kind, options, most):
    found = decoded(file_of(image, kind, **options))
    assert difference(found, image) <= most


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_avif_is_the_image_that_was_saved(image):
    assert difference(decoded(file_of(image, "AVIF", quality=90)), image) <= 4


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_four_inks_become_three_colours(image, kind):
    saved = file_of(image.convert("CMYK"), kind)
    assert difference(decoded(saved), image) <= 6


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_what_is_transparent_is_white(image, kind):
    clear = image.convert("RGBA")
    clear.putalpha(0)
    options = {"lossless": True} if kind == "WEBP" else {}
    found = decoded(file_of(clear, kind, **options))
    assert np.asarray(found).min() == 255


def test_what_is_half_transparent_is_mixed_with_white():
    half = Image.new("RGBA", (2, 2), (200, 0, 0, 51))
    assert decoded(file_of(half)).getpixel((0, 0)) == (244, 204, 204)
    grey_half = Image.new("LA", (2, 2), (0, 51))
    assert decoded(file_of(grey_half)).getpixel((0, 0)) == (204, 204, 204)


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_a_palette_may_have_a_transparent_colour(kind):
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 200, 100, 50])
    palette.putdata([0, 1])
    found = decoded(file_of(palette, kind, transparency=0))
    assert found.getpixel((0, 0)) == (255, 255, 255)
    assert found.getpixel((1, 0)) == (200, 100, 50)


def test_red_green_blue_may_have_a_transparent_colour():
    two = Image.new("RGB", (2, 1), (1, 2, 3))
    two.putpixel((1, 0), (9, 9, 9))
    found = decoded(file_of(two, transparency=(1, 2, 3)))
    assert [found.getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), (9, 9, 9)]


def test_black_and_white_and_grey():
    for mode, value in (("1", 1), ("L", 255)):
        image = Image.new(mode, (3, 1))
        image.putpixel((1, 0), value)
        found = np.asarray(decoded(file_of(image)))[0, :, 0]
        assert found.tolist() == [0, 255, 0]


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_and_not_cut_off(kind):
    steps = np.array([[0, 257, 128 * 257, 65_535]])
    found = decoded(file_of(grey(steps, np.uint16), kind))
    assert np.asarray(found)[0, :, 0].tolist() == [0, 1, 128, 255]


def test_a_dark_image_of_sixteen_bits_stays_dark():
    found = decoded(file_of(grey([[0, 2_570]], np.uint16)))
    assert np.asarray(found)[0, :, 0].tolist() == [0, 10]


def test_whole_numbers_of_32_bits_are_read_as_16():
    found = decoded(file_of(grey([[-100, 0, 65_535, 1_000_000]], np.int32), "TIFF"))
    assert np.asarray(found)[0, :, 0].tolist() == [0, 0, 255, 255]


def test_fractions_are_refused():
    with pytest.raises(InvalidInputError, match="whole numbers, found fractions"):
        decoded(file_of(grey([[0.0, 0.2, 1.0]], np.float32), "TIFF"))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_turned_as_its_camera_was_held(image, kind, orientation):
    upright = image.crop((0, 0, 96, 60))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    kept = upright.transpose(KEPT[orientation]) if orientation > 1 else upright
    options = {"JPEG": {"quality": 95}, "WEBP": {"lossless": True}}.get(kind, {})
    found = decoded(file_of(kept, kind, exif=exif, **options))
    assert difference(found, upright) <= 3


def test_notes_of_a_camera_that_cannot_be_read_change_nothing(image):
    saved = file_of(image, "JPEG", exif=b"Exif\0\0nonsense that is no TIFF at all")
    assert difference(decoded(saved), image) <= 7


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_what_moves_the_first_image_counts(kind):
    chance = random.Random(5)
    frames = [draw(each, chance) for each in COMBINATIONS[:3]]
    options = {"lossless": True} if kind == "WEBP" else {}
    saved = file_of(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    with Image.open(io.BytesIO(saved)) as opened:
        assert opened.n_frames == 3
    assert difference(decoded(saved), frames[0]) <= 4


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"], ids=str)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_what_is_cut_short_is_said_to_be(kind, share):
    noise = np.random.default_rng(1).integers(0, 255, (200, 200, 3), dtype=np.uint8)
    saved = file_of(Image.fromarray(noise), kind)
    with pytest.raises(InvalidInputError, match=r"Expected a(n| whole) image.*found"):
        decoded(saved[: int(len(saved) * share)])


def png_header(width, height):
    fields = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = b"IHDR" + fields
    chunk = struct.pack(">I", len(fields)) + body + struct.pack(">I", zlib.crc32(body))
    data = b"IDAT" + zlib.compress(b"\0" * 100)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk
        + struct.pack(">I", len(data) - 4)
        + data
        + struct.pack(">I", zlib.crc32(data))
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "Expected an image, found nothing"),
        (b"   ", "found 3 bytes that begin with b'   '"),
        (b"A text of some kind", "found 19 bytes that begin with b'A text o'"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "begin with b'%!PS-Ado'"),
        (png_header(9_500, 9_500), "pixels, found"),
        (png_header(100_000, 100_000), "pixels, found"),
        (png_header(2**31 - 1, 2**31 - 1), "pixels, found"),
        (png_header(1, 5_000), "at most 50 times as long as it is wide"),
        (png_header(200_000, 1), "at most 50 times as long as it is wide"),
        (png_header(0, 0), "Expected an image"),
        (b"\x89PNG\r\n\x1a\n", "Expected an image"),
    ],
    ids=[
        *("empty", "blank", "text", "eps", "large", "bomb", "huge"),
        *("tall", "wide", "none", "start"),
    ],
)
def test_what_is_no_image_is_refused(content, message):
    with pytest.raises(InvalidInputError, match=message):
        decoded(content)


def test_a_bomb_is_refused_before_it_is_decoded(monkeypatch, image):
    monkeypatch.setattr(images, "MAX_PIXELS", 96 * 96 - 1)
    monkeypatch.setattr(images, "_upright", pytest.fail)
    with pytest.raises(InvalidInputError, match="of 1 to 9,215 pixels, found 96 x 96"):
        decoded(file_of(image))


def test_a_file_that_is_too_large_is_not_even_opened(monkeypatch):
    monkeypatch.setattr(Image, "open", pytest.fail)
    with pytest.raises(
        InvalidInputError, match="at most 50,000,000 bytes, found 50,000,00"
    ):
        decoded(bytes(images.MAX_BYTES + 1))


def chunk(kind, body):
    return (
        struct.pack(">I", len(body))
        + kind
        + body
        + struct.pack(">I", zlib.crc32(kind + body))
    )


def one_bit_png(side):
    """A palette of one transparent colour: about 10 KB for 80 million pixels."""
    rows = bytes(1 + (side + 7) // 8) * side
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 3, 0, 0, 0))
        + chunk(b"PLTE", bytes(6))
        + chunk(b"tRNS", b"\0")
        + chunk(b"IDAT", zlib.compress(rows, 9))
        + chunk(b"IEND", b"")
    )


def in_memory_of(megabytes, content):
    """What decoded() makes of *content* in a process that has so much memory more."""
    script = (
        "import resource, sys\n"
        "from PIL import Image; Image.init()\n"
        "from datasette_embeddings.errors import InvalidInputError\n"
        "from datasette_embeddings import images\n"
        "from pathlib import Path\n"
        "pages = int(Path('/proc/self/statm').read_text().split()[0])\n"
        f"most = pages * resource.getpagesize() + {megabytes} * 2**20\n"
        "resource.setrlimit(resource.RLIMIT_AS, (most, most))\n"
        "try: print(images.decoded(Path(sys.argv[1]).read_bytes()).size)\n"
        "except InvalidInputError as error: print(error)\n"
        "except MemoryError: print('not enough memory')\n"
    )
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        return subprocess.run(
            [sys.executable, "-W", "error", "-c", script, file.name],
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.mark.skipif(sys.platform != "linux", reason="no limit of memory elsewhere")
def test_a_transparent_image_is_put_on_white_without_copies_of_it():
    # 1 byte a pixel that is read, 4 of the image on white
    done = in_memory_of(520, one_bit_png(9_400))
    assert (done.stdout, done.stderr) == ("(9400, 9400)\n", "")


@pytest.mark.skipif(sys.platform != "linux", reason="no limit of memory elsewhere")
def test_a_tile_may_not_be_larger_than_the_image():
    side = 30_000
    tile = zlib.compress(bytes(side * side))
    tags = {256: 10, 257: 10, 258: 8, 259: 8, 262: 1, 277: 1, 322: side, 323: side}
    done = in_memory_of(100, tiff({**tags, 324: DATA, 325: len(tile)}, tile))
    assert done.stdout == (
        "Expected tiles no larger than the 10 x 10 pixels of the image, found tiles of "
        "900,000,000\n"
    )
    assert done.stderr == ""


DATA = object()


def tiff(tags, data, counts=None):
    """A TIFF whose *tags* have one number each, unless *counts* has how many."""
    start = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(
        struct.pack(
            "<HHII", tag, 4, (counts or {}).get(tag, 1), start if v is DATA else v
        )
        for tag, v in sorted(tags.items())
    )
    head = b"II*\0" + struct.pack("<IH", 8, len(tags))
    return head + entries + bytes(4) + data


def test_a_tiff_of_too_many_strips_is_refused_before_it_is_opened(monkeypatch):
    tags = {256: 9, 257: 9, 258: 8, 259: 1, 262: 1, 273: DATA, 278: 1, 279: DATA}
    content = tiff(tags, bytes(4_000), {273: 1_000_000, 279: 1_000_000})
    monkeypatch.setattr(Image, "open", pytest.fail)
    with pytest.raises(
        InvalidInputError, match="at most 347,656 strips or tiles, found 1,"
    ):
        decoded(content)


def tiff_of_tags_that_share_their_data():
    tags = {256: 9, 257: 9, 258: 8, 259: 1, 262: 1, 273: DATA, 278: 9, 279: 81}
    shared = dict.fromkeys(range(1_000, 2_000), 250_000)
    return tiff({**tags, **dict.fromkeys(shared, DATA)}, bytes(1_000_000), shared)


def jpeg_of_tags_that_share_their_data(image):
    notes = tiff_of_tags_that_share_their_data()
    parts = [notes[start : start + 65_000] for start in range(0, len(notes), 65_000)]
    segments = [
        b"\xff\xe1" + struct.pack(">H", len(part) + 8) + b"Exif\0\0" + part
        for part in parts
    ]
    saved = file_of(image, "JPEG")
    return saved[:2] + b"".join(segments) + saved[2:]


@pytest.mark.skipif(sys.platform != "linux", reason="no limit of memory elsewhere")
@pytest.mark.skipif(sys.version_info < (3, 11), reason="no Pillow 13")
@pytest.mark.parametrize("kind", ["TIFF", "JPEG"])
def test_tags_that_share_their_data_do_not_take_memory_for_each(image, kind):
    # A thousand tags of the same million bytes
    content = tiff_of_tags_that_share_their_data()
    if kind == "JPEG":
        content = jpeg_of_tags_that_share_their_data(image)
    done = in_memory_of(100, content)
    size = (9, 9) if kind == "TIFF" else image.size
    assert (done.stdout, done.stderr) == (f"{size}\n", "")


def scans_of(content):
    return [found.start() for found in re.finditer(b"\xff\xda", content)]


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_of_thousands_of_scans_is_refused_before_it_is_decoded(
    image, progressive, monkeypatch
):
    saved = file_of(image, "JPEG", progressive=progressive)
    last = saved[scans_of(saved)[-1] : -2]
    found = len(scans_of(saved))
    allowed = saved[:-2] + last * (100 - found) + saved[-2:]
    assert "scans" not in said_of(allowed)
    monkeypatch.setattr(images, "_upright", pytest.fail)
    with pytest.raises(
        InvalidInputError, match="a JPEG of at most 100 scans, found more"
    ):
        decoded(saved[:-2] + last * (101 - found) + saved[-2:])


def test_what_only_looks_like_scans_is_none(image):
    saved = file_of(image, "JPEG", quality=95)
    looks = b"\xff\xda" * 200
    comment = b"\xff\xfe" + struct.pack(">H", len(looks) + 2) + looks
    # As in a comment, or in the film that a telephone writes behind an image
    for content in (saved[:2] + comment + saved[2:], saved + looks):
        assert difference(decoded(content), image) <= 5


def test_an_image_that_pillow_warns_of_is_read_in_silence(image):
    exif = struct.pack("<HHII", 7, 7, 4_000_000, 0)
    notes = b"II*\0" + struct.pack("<IH", 8, 300)
    notes += b"".join(
        struct.pack("<H", each) + exif[2:] for each in range(300)
    ) + bytes(4)
    saved = file_of(image, "PNG", exif=b"Exif\0\0" + notes)
    done = in_memory_of(500, saved)
    assert (done.stdout, done.stderr) == ("(96, 96)\n", "")


def test_no_more_is_decoded_at_once_than_memory_shall_hold():
    room, inside, most = images.PixelLimit(100), [], []
    lock = threading.Lock()

    def decode(pixels):
        with room.reserve(pixels):
            with lock:
                inside.append(pixels)
                most.append(sum(inside))
            with lock:
                inside.remove(pixels)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(decode, [40, 70, 100, 1, 300, 30] * 50))
    assert len(most) == 300
    assert all(found <= 100 for found in most if found != 300)
    # One that is larger than all the room is alone in it
    assert {found for found in most if found > 100} == {300}


OTHER_FORMATS = {
    "CUR": b"\0\0\2\0\1\0",
    "DCX": struct.pack("<I", 987654321),
    "FITS": b"SIMPLE  =                    T",
    "FLI": bytes(4) + b"\x11\xaf" + bytes(8) + b"\3\0",
    "FTEX": b"FTEX",
    "GBR": struct.pack(">II", 20, 2),
    "GRIB": b"GRIB\0\0\0\1",
    "HDF5": b"\x89HDF\r\n\x1a\n",
    "HEIC": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
    "JPEG XL": b"\xff\x0a",
    "MCIDAS": bytes(7) + b"\4",
    "MPEG": b"\0\0\1\xb3",
    "PIXAR": b"\x80\xe8\0\0",
    "PSD": b"8BPS\0\1",
    "SUN": struct.pack(">I", 0x59A66A95),
    "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "WMF": b"\xd7\xcd\xc6\x9a\0\0",
    "XPM": b"/* XPM */",
}


def test_thirty_other_formats_never_reach_their_decoders(image, monkeypatch):
    Image.init()
    files = {kind: start + bytes(2_000) for kind, start in OTHER_FORMATS.items()}
    for kind in Image.SAVE:
        for mode in ("RGB", "L", "P", "1"):
            if kind in images.FORMATS or kind in files:
                break
            # Some take only certain colours
            with suppress(Exception):
                files[kind] = file_of(image.convert(mode), kind)
    assert len(files) >= 30
    assert {"EPS", "PDF", "ICO", "ICNS", "TGA", "PCX", "JPEG2000"} <= set(files)
    for kind in Image.OPEN:
        if kind not in images.FORMATS:
            monkeypatch.setitem(Image.OPEN, kind, (pytest.fail, lambda _start: True))
    for content in files.values():
        with pytest.raises(
            InvalidInputError, match=r"Expected an image, JPEG, PNG, GIF.*"
        ):
            decoded(content)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "AVIF"])
def test_each_cut_and_each_lie_is_an_image_or_one_sentence(kind):
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    noise = np.random.default_rng(1).integers(0, 255, (16, 16, 3), dtype=np.uint8)
    saved = file_of(Image.fromarray(noise), kind)
    chance = random.Random(4)
    cuts = [saved[:length] for length in range(len(saved))]
    lies = []
    for _ in range(300):
        changed = bytearray(saved)
        changed[chance.randrange(min(len(saved), 300))] = chance.choice((0, 127, 255))
        lies.append(bytes(changed))
    for content in (*cuts, *lies):
        said = said_of(content)
        assert said == "RGB" or said.startswith("Expected ")
        assert len(said) <= 300


def said_of(content):
    """The colours of what is decoded, or why it is not."""
    try:
        return decoded(content).mode
    except InvalidInputError as error:
        return str(error)
