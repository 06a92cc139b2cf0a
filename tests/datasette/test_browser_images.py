"""A person who looks for images: by the eye, by another image, at a lower price."""

from __future__ import annotations

import base64
import json
import re
import sqlite3

import pytest
from playwright.sync_api import expect

from datasette_embeddings.config import SimilaritySettings
from datasette_embeddings.similarities.refreshing import build
from datasette_embeddings.sources.from_config import table_source
from tests.datasette import browsing
from tests.datasette.browsing import (
    assert_fits_and_axe_finds_nothing,
    box,
    crosswise,
    in_both_windows,
    status,
    summary,
    tab,
    title_texts,
    titles,
    without_script,
)
from tests.datasette.conftest import served
from tests.datasette.image_tables import (
    COLOURS,
    EYES,
    HTML,
    TIFF,
    collect,
    collect_images,
    png,
    write_images,
    write_plugin,
)

pytestmark = browsing.MARKS

SEARCH = "/shop/-/embeddings/images"
IMAGES = {name: png(colour, side=200) for name, colour in COLOURS.items()} | {
    f"Shade {shade}": png((shade, shade, shade), side=200)
    for shade in range(10, 240, 20)
}
GREEN = {"name": "photo.png", "mimeType": "image/png", "buffer": IMAGES["Green"]}
MOST_BYTES = 60_000


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop")
    path = folder / "shop.db"
    conn = sqlite3.connect(path)
    write_images(conn, IMAGES)
    build(collect_images(conn), SimilaritySettings(4))
    titles = table_source(conn, "images", content_columns=["title"])
    collect(conn, "titles", titles, {str(n): f"text {n}" for n in range(1, 7)})
    stored = {"red": IMAGES["Red"], "page": HTML, "scan.tiff": TIFF}
    collect(conn, "mixed", None, {**stored, "text": "A red disc"}, is_stored=True)
    conn.close()
    settings = {**EYES, "max_body_bytes": MOST_BYTES}
    metadata = folder / "metadata.json"
    metadata.write_text(json.dumps({"plugins": {"datasette-embeddings": settings}}))
    plugins = write_plugin(folder)
    with served(path, "-m", metadata, "--plugins-dir", plugins) as url:
        yield url


def chooser(page):
    return page.get_by_label("Or search by image")


def first_title(page):
    return titles(page).first


def are_loaded(page, selector=".embeddings-grid img"):
    """Whether each image of the page is one by now, after scrolling to it."""
    for image in page.locator(selector).all():
        image.scroll_into_view_if_needed()
    page.wait_for_function(
        "selector => [...document.querySelectorAll(selector)]"
        ".every((each) => each.complete)",
        arg=selector,
    )
    return page.evaluate(
        "selector => [...document.querySelectorAll(selector)]"
        ".map((each) => each.naturalWidth)",
        selector,
    )


# Looking


@browsing.on_both_datasettes
@browsing.with_and_without_script
def test_a_grid_of_images_is_shown_and_leads_on(page):
    page.goto(f"{SEARCH}?like=1")
    expect(page.locator("ol.embeddings-grid > li")).to_have_count(10)
    assert are_loaded(page) == [200] * 10
    boxes = [each.bounding_box() for each in page.locator(".embeddings-grid img").all()]
    assert {round(each["width"] - each["height"]) for each in boxes} == {0}
    in_first_row = [each for each in boxes if each["y"] == boxes[0]["y"]]
    assert len(in_first_row) == (2 if page.viewport_size["width"] == 320 else 5)
    assert are_loaded(page, ".embeddings-asked img") == [200]
    title = first_title(page).inner_text().strip()
    page.get_by_role("link", name=f"more like this: {title}").click()
    expect(page).to_have_url(re.compile(r"\?like=\d+$"))
    first_title(page).get_by_role("link").click()
    expect(page).to_have_url(re.compile(r"/shop/images/\d+$"))


def keep_prices_below(page, price) -> None:
    """Fill in the form for a filter, and apply it."""
    summary(page, "Filters and options").click()
    page.get_by_label("Column").select_option("price")
    page.get_by_label("Comparison").select_option("lt")
    page.get_by_label("Value", exact=True).fill(str(price))
    page.get_by_role("button", name="Apply").click()


@crosswise
def test_similar_but_cheaper(page):
    page.goto(f"{SEARCH}?like=18")
    keep_prices_below(page, 40)
    expect(titles(page)).to_have_count(3)
    expect(page).to_have_url(f"{SEARCH}?like=18&price__lt=40")
    assert set(title_texts(page)) == {"Red", "Green", "Blue"}
    assert are_loaded(page) == [200] * 3


@in_both_windows
def test_what_cannot_be_shown_has_a_word_and_a_link(page):
    page.goto("/shop/-/embeddings/mixed?like=red")
    broken = page.locator(".embeddings-grid .embeddings-broken")
    expect(broken).to_have_count(2)
    told = broken.first.evaluate("each => getComputedStyle(each, '::after').content")
    assert told == '"This image cannot be shown here"'
    link = page.get_by_role("link", name="scan.tiff", exact=False).first
    assert link.get_attribute("href").endswith("/mixed/image/scan~2Etiff")
    expect(page.locator(".embeddings-snippet")).to_have_text("A red disc")


@without_script
def test_without_script_the_page_says_what_it_takes(page):
    page.goto(SEARCH)
    expect(page.locator("form noscript")).to_be_visible()
    told = page.locator("form noscript").inner_text()
    assert told.strip() == "Searching by image requires JavaScript."
    expect(chooser(page)).to_be_hidden()


def test_texts_ask_for_no_image(page):
    page.goto("/shop/-/embeddings/titles")
    expect(chooser(page)).to_have_count(0)


def test_a_row_shows_images_like_it(page):
    page.goto("/shop/images/1")
    assert are_loaded(page, ".embeddings-related img") == [200] * 4


# Asking with an image


@browsing.on_both_datasettes
@in_both_windows
def test_a_chosen_image_finds_itself_first(page):
    page.goto(SEARCH)
    page.evaluate("window.marker = 1")
    chooser(page).set_input_files(GREEN)
    expect(first_title(page)).to_have_text("Green")
    expect(status(page)).to_have_text("10 items closest to your image, best first.")
    expect(page).to_have_url(SEARCH)
    expect(page).to_have_title("An image: images")
    expect(page.get_by_alt_text("Your image")).to_be_visible()
    assert are_loaded(page, "#embeddings-asked img") == [200]
    assert 200 in are_loaded(page)
    assert page.evaluate("window.marker") == 1


# What a browser hands to a page: a list of files
GIVEN = """
({type, name, bytes, target}) => {
  const data = new DataTransfer();
  const array = Uint8Array.from(atob(bytes), (each) => each.charCodeAt(0));
  data.items.add(new File([array], "photo.png", {type: "image/png"}));
  const options = {bubbles: true, cancelable: true};
  const at = document.querySelector(target);
  if (type === "paste") {
    at.dispatchEvent(new ClipboardEvent(type, {...options, clipboardData: data}));
  } else {
    for (const each of ["dragover", "drop"]) {
      at.dispatchEvent(new DragEvent(each, {...options, dataTransfer: data}));
    }
  }
}
"""


@pytest.mark.parametrize(
    ("type", "target"),
    [("drop", "#embeddings-image"), ("drop", "h1"), ("paste", "#embeddings-q")],
)
def test_an_image_can_be_dropped_and_pasted(page, type, target):
    page.goto(SEARCH)
    encoded = base64.b64encode(IMAGES["Blue"]).decode()
    page.evaluate(GIVEN, {"type": type, "target": target, "bytes": encoded})
    expect(first_title(page)).to_have_text("Blue")
    expect(page.locator(".embeddings-dragging")).to_have_count(0)


def test_a_text_that_is_pasted_is_a_text(page):
    page.goto(SEARCH)
    box(page).focus()
    page.evaluate(
        """
        () => {
          const data = new DataTransfer();
          data.setData("text/plain", "Green");
          const event = new ClipboardEvent("paste", {
            bubbles: true, cancelable: true, clipboardData: data
          });
          window.isTaken = !document.activeElement.dispatchEvent(event);
        }
        """
    )
    assert page.evaluate("window.isTaken") is False


@in_both_windows
def test_conditions_narrow_an_image_and_are_taken_away(page):
    page.goto(SEARCH)
    chooser(page).set_input_files(GREEN)
    expect(titles(page)).to_have_count(10)
    keep_prices_below(page, 40)
    expect(titles(page)).to_have_count(3)
    expect(first_title(page)).to_have_text("Green")
    expect(page).to_have_url(f"{SEARCH}?price__lt=40")
    expect(page.get_by_label("Value", exact=True)).to_have_value("")
    page.get_by_label("Lowest score").fill("1")
    page.get_by_role("button", name="Apply").click()
    expect(page).to_have_url(f"{SEARCH}?price__lt=40&_min_score=1")
    # The address changes before the answer comes, which brings the link
    remove = page.get_by_role("link", name="Remove the filter")
    expect(remove).to_have_attribute("href", re.compile(r"_min_score=1"))
    remove.click()
    expect(page).to_have_url(f"{SEARCH}?_min_score=1")
    expect(status(page)).to_contain_text("closest to your image")


def test_pages_and_facets_of_an_image_follow(page):
    page.goto(f"{SEARCH}?_facet=shape")
    chooser(page).set_input_files(GREEN)
    expect(page.get_by_role("region", name="shape")).to_contain_text("disc 18")
    page.get_by_role("link", name="Next page").click()
    expect(status(page)).to_have_text(
        "8 items closest to your image, best first, from number 11."
    )
    expect(page).to_have_url(f"{SEARCH}?_facet=shape&_next=10")
    page.get_by_role("link", name="Previous page").click()
    expect(first_title(page)).to_have_text("Green")
    page.get_by_role("link", name="disc").click()
    expect(page).to_have_url(f"{SEARCH}?_facet=shape&shape=disc")
    expect(status(page)).to_contain_text("closest to your image")


def test_the_way_back_leads_to_an_image_again(page):
    page.goto(f"{SEARCH}?like=1")
    before = title_texts(page)
    chooser(page).set_input_files(GREEN)
    expect(first_title(page)).to_have_text("Green")
    box(page).press_sequentially("blue")
    expect(page).to_have_url(f"{SEARCH}?q=blue")
    expect(page.get_by_alt_text("Your image")).to_be_hidden()
    expect(status(page)).to_contain_text("of 18 items")
    page.go_back()
    expect(first_title(page)).to_have_text("Green")
    expect(page.get_by_alt_text("Your image")).to_be_visible()
    page.go_back()
    expect(titles(page)).to_have_text(before)
    expect(page.get_by_alt_text("Your image")).to_be_hidden()


def test_an_image_is_forgotten(page):
    page.goto(SEARCH)
    chooser(page).set_input_files(GREEN)
    expect(first_title(page)).to_have_text("Green")
    page.get_by_role("button", name="Search without it").click()
    expect(titles(page)).to_have_count(0)
    expect(chooser(page)).to_be_focused()
    # The same once more
    chooser(page).set_input_files(GREEN)
    expect(first_title(page)).to_have_text("Green")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"This is a letter", "Expected an image"),
        (b"", "expected an image"),
        (bytes(300_000), "The image cannot be sent: it is too large. This server"),
    ],
    ids=["text", "empty", "large"],
)
def test_what_is_no_image_is_told(page, content, message):
    page.goto(SEARCH)
    chooser(page).set_input_files(
        {"name": "letter.txt", "mimeType": "text/plain", "buffer": content}
    )
    expect(status(page)).to_contain_text(message)
    expect(titles(page)).to_have_count(0)
    chooser(page).set_input_files(GREEN)
    expect(first_title(page)).to_have_text("Green")


def test_a_photograph_is_made_smaller_before_it_is_sent(page):
    """Larger than the server takes by far; what comes there has 512 pixels a side."""
    large = png(COLOURS["Green"], side=1500, noise=bytes(1_000_000))
    page.goto(SEARCH)
    sent = []
    page.on("request", lambda request: sent.append(request.post_data))
    chooser(page).set_input_files({**GREEN, "buffer": large})
    expect(status(page)).to_contain_text("Expected an image")  # a JPEG is none to Eyes
    (body,) = [each for each in sent if each]
    kind, _, encoded = json.loads(body)["image"].partition(",")
    assert kind == "data:image/jpeg;base64"
    size = page.evaluate(
        """
        async (url) => {
          const image = await createImageBitmap(await (await fetch(url)).blob());
          return [image.width, image.height];
        }
        """,
        f"{kind},{encoded}",
    )
    assert size == [512, 512]
    assert len(body) < MOST_BYTES


def test_a_server_out_of_reach_is_told_and_tried_again(page, problems):
    page.goto(SEARCH)
    page.route(f"**{SEARCH}", lambda route: route.abort("connectionrefused"))
    chooser(page).set_input_files(GREEN)
    expect(status(page)).to_contain_text("Press Enter to try again.")
    problems.clear()
    page.unroute(f"**{SEARCH}")
    box(page).press("Enter")
    expect(first_title(page)).to_have_text("Green")


# Keyboard and screen reader


def test_the_keyboard_reaches_the_image_and_what_it_found(own_page):
    # From now on the browser reports that it would open a file chooser.  Asked for only
    # before the key is pressed, it sometimes opens one first
    own_page.on("filechooser", lambda _chooser: None)
    own_page.goto(f"{SEARCH}?_size=1")
    chooser(own_page).set_input_files(GREEN)
    expect(first_title(own_page)).to_have_text("Green")
    box(own_page).focus()
    order = [tab(own_page) for _ in range(9)]
    assert order[1].endswith("photo.png")
    assert order[2:] == [
        *("Search without it", "Filters and options", "Green"),
        *("more like this", "image", "details", "Next page"),
    ]
    chooser(own_page).focus()
    with own_page.expect_file_chooser():
        own_page.keyboard.press("Space")


PLACES = {
    "form": SEARCH,
    "grid": f"{SEARCH}?like=1",
    "facet": f"{SEARCH}?like=1&_facet=title&price__gt=20",
    "mixed": "/shop/-/embeddings/mixed?like=red",
    "pairs": f"{SEARCH}/pairs",
    "row": "/shop/images/1",
}


@pytest.mark.parametrize("path", PLACES.values(), ids=PLACES)
@in_both_windows
def test_a_page_fits_its_window_and_axe_finds_nothing(page, path):
    page.goto(path)
    assert_fits_and_axe_finds_nothing(page)


@in_both_windows
def test_a_page_with_an_image_fits_and_axe_finds_nothing(page):
    page.goto(SEARCH)
    chooser(page).set_input_files(GREEN)
    expect(first_title(page)).to_have_text("Green")
    assert_fits_and_axe_finds_nothing(page)
