"""A person with a real browser: types, reads, follows, narrows down, goes back."""

from __future__ import annotations

import re
import sqlite3

import pytest
from playwright.sync_api import expect

from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.sources.definitions import Source
from datasette_embeddings.sources.from_config import table_source
from datasette_embeddings.sources.queries import query_source
from tests.datasette import browsing
from tests.datasette.browsing import (
    ask,
    assert_fits_and_axe_finds_nothing,
    box,
    crosswise,
    focused,
    in_both_windows,
    status,
    summary,
    tab,
    title_texts,
    titles,
    with_and_without_script,
    without_script,
)
from tests.datasette.conftest import served

pytestmark = browsing.MARKS
SEARCH = "/notes/-/embeddings/notes"
# Topic, title and text of six notes each, which differ in their number
NOTES = [
    ("pets", "Kittens", "Young cats need food four times a day and a warm place."),
    ("baking", "Sourdough", "Flour, water and salt become bread with wild yeast."),
    ("sky", "Night sky", "With a small telescope you see the rings of Saturn."),
    ("bicycles", "Flat tyre", "Find the hole in the tube of the wheel and patch it."),
]
UNBROKEN = "Lost" * 60
GONE = "The source row was deleted"
FACTS = (
    "26 items, embedded with sentence-transformers/all-MiniLM-L6-v2 (384 dimensions)."
)


def write_notes(conn):
    """Twenty-four notes, one without a topic, one that will go, one that fails."""
    conn.execute(
        "create table notes (id integer primary key, title, body, topic, action)"
    )
    rows = [
        (None, f"{title} {number}", f"{text} Part {number}.", topic, "read")
        for topic, title, text in NOTES
        for number in range(1, 7)
    ]
    rows += [
        (25, UNBROKEN, "Umbrellas and gloves wait at the station.", "", "write"),
        (26, "Chess", "The opening decides little, the endgame much.", "games", ""),
        (27, "Broken", b"no text", "games", ""),
    ]
    conn.executemany("insert into notes values (?, ?, ?, ?, ?)", rows)
    conn.execute("create table vacant (id integer primary key, body text)")
    conn.commit()


@pytest.fixture(scope="module")
def notes_db(tmp_path_factory, model):
    path = tmp_path_factory.mktemp("browser") / "notes.db"
    conn = sqlite3.connect(path)
    write_notes(conn)
    rules = Source(metadata_columns=("topic",))
    columns = ["title", "body"]
    notes = table_source(conn, "notes", content_columns=columns, rules=rules)
    ingest(conn, "notes", notes, model)
    ingest(conn, "vacant", table_source(conn, "vacant"), model)
    rules = Source(metadata_columns=("topic", "year"), url="/story/{{ path }}")
    sql = "select id || '.md', body, topic, 2000 + id as year from notes where id < 25"
    ingest(conn, "stories", query_source(conn, sql, rules=rules), model)
    ingest(conn, "bare", query_source(conn, "select id, title from notes"), model)
    conn.execute("delete from notes where id = 26")
    conn.execute(
        "update embeddings set content = null where collection_id = "
        "(select id from collections where name = 'bare')"
    )
    conn.commit()
    conn.close()
    return path


@pytest.fixture(scope="module")
def site(notes_db):
    with served(notes_db) as url:
        yield url


# With and without script


@browsing.on_both_datasettes
@with_and_without_script
def test_a_person_searches_follows_a_match_and_goes_back(page):
    page.goto("/-/embeddings")
    page.locator("td.col-collection").get_by_role("link", name="notes").click()
    box(page).fill("my wheel has a puncture")
    page.keyboard.press("Enter")
    expect(titles(page).first).to_contain_text("Flat tyre")
    expect(status(page)).to_have_text("10 of 26 items, best first.")
    expect(page.locator("mark").first).to_have_text("wheel")
    expect(page.locator(".embeddings-metadata").first).to_contain_text("bicycles")
    titles(page).first.get_by_role("link").click()
    expect(page).to_have_url(re.compile(r"/notes/notes/(19|2[0-4])$"))
    page.go_back()
    expect(box(page)).to_have_value("my wheel has a puncture")
    expect(titles(page).first).to_contain_text("Flat tyre")


@crosswise
def test_more_like_this_leads_to_the_neighbours(page):
    page.goto(f"{SEARCH}?q=cats")
    page.get_by_role("link", name="more like this: Kittens").first.click()
    expect(page).to_have_url(re.compile(r"\?like=[1-6]$"))
    expect(status(page)).to_contain_text("10 items closest to")
    expect(titles(page).first).to_contain_text("Kittens")
    ask(page, "bread")
    page.keyboard.press("Enter")
    expect(titles(page).first).to_contain_text("Sourdough")
    expect(page).to_have_url(f"{SEARCH}?q=bread")


@crosswise
def test_pages_follow_each_other(page):
    page.goto(f"{SEARCH}?q=cats")
    expect(titles(page)).to_have_count(10)
    first_page = title_texts(page)
    page.get_by_role("link", name="Next page").click()
    expect(status(page)).to_have_text("10 of 26 items, best first, from number 11.")
    assert set(title_texts(page)).isdisjoint(first_page)
    page.get_by_role("link", name="Next page").click()
    expect(status(page)).to_have_text("6 of 26 items, best first, from number 21.")
    expect(page.get_by_role("link", name="Next page")).to_have_count(0)
    page.get_by_role("link", name="Previous page").click()
    page.get_by_role("link", name="Previous page").click()
    expect(titles(page)).to_have_text(first_page)
    page.get_by_role("link", name="Next page").click()
    box(page).fill("cats")
    page.get_by_role("button", name="Search").click()
    expect(status(page)).to_have_text("10 of 26 items, best first.")


@with_and_without_script
def test_a_filter_is_set_kept_and_removed(page):
    page.goto(f"{SEARCH}?q=cats")
    summary(page, "Filters and options").click()
    page.get_by_label("Column").select_option("topic")
    page.get_by_label("Value", exact=True).fill("sky")
    page.get_by_role("button", name="Apply").click()
    expect(page).to_have_url(f"{SEARCH}?q=cats&topic__exact=sky")
    expect(status(page)).to_contain_text("All 6 results that fit, best first.")
    condition = page.get_by_label("Filters", exact=True).get_by_role("listitem")
    expect(condition).to_contain_text('topic = "sky"')
    box(page).fill("bread")
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{SEARCH}?q=bread&topic__exact=sky")
    expect(page).to_have_title("bread: notes")
    expect(titles(page).first).to_contain_text("Night sky")
    page.get_by_role("link", name="Remove the filter").click()
    expect(page).to_have_url(f"{SEARCH}?q=bread")
    expect(titles(page).first).to_contain_text("Sourdough")


@crosswise
def test_values_are_counted_beside_the_results_and_lead_to_them(page):
    page.goto(f"{SEARCH}?q=cats")
    summary(page, "Filters and options").click()
    page.get_by_label("Count the values of").select_option("topic")
    page.get_by_role("button", name="Apply").click()
    values = page.get_by_role("region", name="topic").get_by_role("listitem")
    expect(values).to_have_text(
        ["baking 6", "bicycles 6", "pets 6", "sky 6", "(blank) 1", "games 1"]
    )
    page.get_by_role("link", name="baking").click()
    expect(page).to_have_url(f"{SEARCH}?q=cats&_facet=topic&topic=baking")
    expect(titles(page)).to_contain_text(["Sourdough"] * 6)
    page.get_by_role("link", name="baking", exact=True).click()
    expect(values).to_have_count(6)
    page.get_by_role("link", name="Do not count the values of topic").click()
    expect(values).to_have_count(0)
    expect(page).to_have_url(f"{SEARCH}?q=cats")


@crosswise
def test_an_empty_box_asks_nothing(page):
    page.goto(f"{SEARCH}?q=cats")
    box(page).fill("")
    page.keyboard.press("Enter")
    expect(page).to_have_url(SEARCH)
    expect(titles(page)).to_have_count(0)
    expect(status(page)).to_have_text("")


@crosswise
def test_a_faulty_filter_can_be_removed(page):
    page.goto(f"{SEARCH}?q=cats&colour=red")
    expect(status(page)).to_contain_text("No column 'colour'")
    page.get_by_role("link", name="Remove the filter").click()
    expect(titles(page).first).to_contain_text("Kittens")


@with_and_without_script
def test_metadata_are_filtered_counted_and_ordered_as_columns_are(page):
    page.goto("/notes/-/embeddings/stories?q=cats")
    summary(page, "Filters and options").click()
    page.get_by_label("Count the values of").select_option("topic")
    page.get_by_label("Order by").select_option("year")
    page.get_by_label("descending").check()
    page.get_by_role("button", name="Apply").click()
    path = "/notes/-/embeddings/stories?q=cats&_facet=topic&_sort_desc=year"
    expect(page).to_have_url(path)
    expect(status(page)).to_contain_text("in descending order of year")
    page.get_by_role("link", name="baking", exact=True).click()
    expect(page).to_have_url(f"{path}&topic=baking")
    expect(titles(page)).to_have_count(6)
    assert title_texts(page) == [f"{number}.md" for number in range(12, 6, -1)]
    first = titles(page).get_by_role("link").first
    expect(first).to_have_attribute("href", "/story/12")


@without_script
def test_an_empty_value_is_a_filter_too(page):
    page.goto(f"{SEARCH}?q=cats&_facet=topic")
    page.get_by_role("link", name="(blank)").click()
    expect(titles(page)).to_have_count(1)
    expect(titles(page)).to_contain_text("LostLost")


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("vacant", "This collection is empty"),
        ("vacant?q=cats", "This collection is empty"),
        ("notes?q=cats&_min_score=0.99", "Nothing matches: no item scores 0.99"),
        ("notes?q=cats&topic=none", "Nothing matches: no item passes the filters."),
        ("notes?q=cats&_next=80", "There are no more results."),
        ("bare?q=cats", "The text of this item is not stored"),
        ("notes?q=the+endgame+of+chess", GONE),
        ("notes?q=cats", FACTS),
        ("notes", "1 row could not be embedded and cannot be found here"),
    ],
)
def test_each_state_has_its_sentence(page, path, sentence):
    page.goto(f"/notes/-/embeddings/{path}")
    expect(page.locator(".content")).to_contain_text(sentence)


# Typing


@browsing.on_both_datasettes
def test_typing_searches_without_a_reload(page):
    page.goto(SEARCH)
    page.evaluate("window.marker = 1")
    ask(page, "cats")
    expect(titles(page).first).to_contain_text("Kittens")
    expect(page).to_have_url(f"{SEARCH}?q=cats")
    expect(page).to_have_title("cats: notes")
    expect(page.locator(".embeddings-about")).to_contain_text(FACTS)
    expect(box(page)).to_be_focused()
    box(page).fill("bread")
    expect(titles(page).first).to_contain_text("Sourdough")
    box(page).fill("")
    expect(titles(page)).to_have_count(0)
    expect(page).to_have_url(SEARCH)
    assert page.evaluate("window.marker") == 1


def test_spaces_are_no_question(page):
    page.goto(SEARCH)
    ask(page, "  ")
    page.keyboard.press("Enter")
    expect(status(page)).to_have_text("")
    expect(page).to_have_url(SEARCH)


def test_a_burst_of_typing_is_one_entry_of_the_history(page):
    page.goto(SEARCH)
    entries = page.evaluate("history.length")
    ask(page, "cats")
    expect(page).to_have_url(f"{SEARCH}?q=cats")
    ask(page, " need")
    expect(page).to_have_url(f"{SEARCH}?q=cats+need")
    assert page.evaluate("history.length") == entries + 1
    page.go_back()
    expect(box(page)).to_have_value("")
    expect(titles(page)).to_have_count(0)
    page.go_forward()
    expect(box(page)).to_have_value("cats need")
    expect(titles(page).first).to_contain_text("Kittens")


def test_who_has_read_an_answer_can_go_back_to_it(own_page):
    own_page.clock.install()
    own_page.goto(SEARCH)
    ask(own_page, "cats")
    own_page.clock.fast_forward(1000)
    expect(titles(own_page).first).to_contain_text("Kittens")
    own_page.clock.fast_forward(10_000)
    box(own_page).fill("bread")
    own_page.clock.fast_forward(1000)
    expect(titles(own_page).first).to_contain_text("Sourdough")
    own_page.go_back()
    expect(box(own_page)).to_have_value("cats")
    expect(titles(own_page).first).to_contain_text("Kittens")
    expect(own_page).to_have_title("cats: notes")


def test_going_back_brings_back_filters_and_limits(page):
    page.goto(f"{SEARCH}?topic=pets&_size=3")
    page.evaluate("window.marker = 1")
    ask(page, "cats")
    expect(titles(page)).to_have_count(3)
    page.get_by_label("Lowest score").fill("0.99")
    page.keyboard.press("Enter")
    expect(status(page)).to_contain_text("Nothing matches")
    expect(page.get_by_label("Lowest score")).to_be_focused()
    page.go_back()
    expect(titles(page)).to_have_count(3)
    expect(page.get_by_label("Lowest score")).to_have_value("")
    expect(page.get_by_label("Lowest score")).to_be_focused()
    page.go_forward()
    expect(status(page)).to_contain_text("Nothing matches")
    expect(page.get_by_label("Lowest score")).to_have_value("0.99")
    expect(page).to_have_url(f"{SEARCH}?q=cats&_size=3&topic=pets&_min_score=0.99")
    assert page.evaluate("window.marker") == 1


@pytest.mark.parametrize("condition", ["topic=", "action=write"])
def test_typing_keeps_the_filters(page, condition):
    page.goto(f"{SEARCH}?q=cats&{condition}")
    box(page).fill("gloves")
    expect(page).to_have_url(f"{SEARCH}?q=gloves&{condition}")
    expect(titles(page)).to_have_count(1)
    expect(titles(page)).to_contain_text("LostLost")


def test_a_slow_answer_never_takes_the_place_of_a_later_one(page):
    held = []
    page.route("**/*?q=cats&_typing=1", lambda route: held.append(route))
    page.goto(SEARCH)
    ask(page, "cats")
    expect(status(page)).to_have_text("Searching …")
    box(page).fill("bread")
    expect(titles(page).first).to_contain_text("Sourdough")
    held[0].continue_()
    page.wait_for_load_state("networkidle")
    expect(titles(page).first).to_contain_text("Sourdough")
    expect(status(page)).to_have_text("10 of 26 items, best first.")


def test_keys_that_come_with_an_answer_are_not_forgotten(own_page):
    own_page.clock.install()
    own_page.goto(SEARCH)
    own_page.clock.pause_at("2100-01-01")
    ask(own_page, "cats")
    own_page.clock.run_for(300)
    expect(titles(own_page).first).to_contain_text("Kittens")
    ask(own_page, " or br")
    own_page.clock.run_for(100)
    held = []
    own_page.route("**/*?q=cats+or+br&_typing=1", lambda route: held.append(route))
    own_page.clock.run_for(300)
    ask(own_page, "ead")
    expect(own_page).to_have_url(f"{SEARCH}?q=cats+or+br")
    held[0].continue_()
    expect(own_page).to_have_title("cats or br: notes")
    own_page.clock.run_for(300)
    expect(own_page).to_have_title("cats or bread: notes")


def test_an_unfinished_word_of_an_input_method_is_not_searched(own_page):
    own_page.clock.install()
    own_page.goto(SEARCH)
    own_page.clock.pause_at("2100-01-01")
    box(own_page).focus()
    keyboard = own_page.context.new_cdp_session(own_page)
    unfinished = {"text": "ね", "selectionStart": 1, "selectionEnd": 1}
    keyboard.send("Input.imeSetComposition", unfinished)
    own_page.clock.run_for(500)
    expect(own_page).to_have_url(SEARCH)
    keyboard.send("Input.insertText", {"text": "猫"})
    own_page.clock.run_for(300)
    expect(own_page).to_have_title("猫: notes")
    expect(box(own_page)).to_have_value("猫")


def test_a_mark_in_the_address_searches_nothing(page, site):
    page.goto(f"{SEARCH}?q=cats")
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.evaluate("location.hash = 'here'")
    page.go_back()
    expect(page).to_have_url(f"{SEARCH}?q=cats")
    ask(page, " need")
    expect(page).to_have_title("cats need: notes")
    assert asked == [f"{site}{SEARCH}?q=cats+need&_typing=1"]


def test_a_page_left_in_the_middle_of_a_search_goes_on_with_it(page):
    page.goto(SEARCH)
    held = []
    page.route("**/*?q=cats&_typing=1", lambda route: held.append(route), times=1)
    ask(page, "cats")
    expect(status(page)).to_have_text("Searching …")
    # What a browser does with a page that it keeps: playwright switches that off
    page.evaluate("dispatchEvent(new PageTransitionEvent('pagehide'))")
    held[0].abort("aborted")
    page.wait_for_load_state("networkidle")
    page.evaluate(
        "dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true}))"
    )
    expect(titles(page).first).to_contain_text("Kittens")


@in_both_windows
def test_a_click_elsewhere_closes_none_of_ours(page):
    """On a page of 0.65 it closes every <details>, as if it were a menu."""
    page.goto(f"{SEARCH}?q=cats")
    summary(page, "Filters and options").click()
    summary(page, "The same search").click()
    box(page).click()
    page.get_by_role("heading", name="Search notes").click()
    expect(page.get_by_label("Lowest score")).to_be_visible()
    expect(page.get_by_role("heading", name="curl", exact=True)).to_be_visible()
    summary(page, "The same search").click()
    expect(page.get_by_role("heading", name="curl", exact=True)).to_be_hidden()
    expect(page.get_by_label("Lowest score")).to_be_visible()


# When something is in the way


def test_a_server_out_of_reach_is_told_and_tried_again(page, problems):
    page.goto(f"{SEARCH}?q=bread")
    page.route("**/*?q=cats&_typing=1", lambda route: route.abort("connectionrefused"))
    box(page).fill("cats")
    expect(status(page)).to_contain_text("No answer")
    expect(status(page)).to_contain_text("Press Enter to try again.")
    expect(titles(page)).to_have_count(0)
    assert "net::ERR_CONNECTION_REFUSED" in problems.pop()
    page.unroute("**/*?q=cats&_typing=1")
    page.keyboard.press("Enter")
    expect(titles(page).first).to_contain_text("Kittens")


def test_an_answer_of_another_server_is_told(page):
    page.goto(SEARCH)
    page.route(
        "**/*?q=cats&_typing=1", lambda route: route.fulfill(status=403, body="<p>No")
    )
    ask(page, "cats")
    expect(status(page)).to_contain_text("No answer: the server answered 403")


def test_a_fault_is_told_where_the_answer_would_be(page):
    page.goto(SEARCH)
    ask(page, "x" * 10)
    # A script may put more into the box than a person can type there
    box(page).evaluate("box => box.removeAttribute('maxlength')")
    box(page).fill("x" * 2001)
    expect(status(page)).to_contain_text("at most 2,000 characters, found 2,001")
    expect(titles(page)).to_have_count(0)


# Words and meaning


def test_the_mode_is_chosen_and_kept(page):
    page.goto(f"{SEARCH}?q=telescope")
    expect(status(page)).to_have_text("10 of 26 items, best first.")
    summary(page, "Filters and options").click()
    page.get_by_label("Search by", exact=True).select_option("words")
    page.get_by_role("button", name="Apply").click()
    expect(page).to_have_url(f"{SEARCH}?q=telescope&_mode=words")
    expect(status(page)).to_have_text("All 6 results that fit, best first.")
    expect(page.get_by_label("Search by", exact=True)).to_have_value("words")
    page.get_by_text("details", exact=True).first.click()
    expect(page.get_by_text("found by words").first).to_be_visible()


def test_a_correction_is_told_and_can_be_refused(page):
    page.goto(f"{SEARCH}?q=telescpoe")
    expect(status(page)).to_contain_text("Showing results for telescope.")
    expect(page.locator("mark").first).to_have_text("telescope")
    page.get_by_role("link", name="Search for exactly telescpoe").click()
    expect(page).to_have_url(f"{SEARCH}?q=telescpoe&_as_typed=1")
    expect(status(page)).not_to_contain_text("Showing results")
    expect(page.locator("mark")).to_have_count(0)


def test_the_last_word_is_a_beginning_while_it_is_typed(page):
    """And the address, which others may get, does not say that it is typed."""
    page.goto(f"{SEARCH}?q=telesc&_as_typed=1&_mode=words")
    expect(titles(page)).to_have_count(0)
    page.goto(f"{SEARCH}?_mode=words")
    ask(page, "telesc")
    expect(titles(page).first).to_contain_text("Night sky")
    expect(page).to_have_url(f"{SEARCH}?q=telesc&_mode=words")
    assert "_typing" not in page.content()


# Keyboard and screen reader


def test_the_keyboard_reaches_everything_in_its_order(page):
    page.goto(f"{SEARCH}?q=cats&_size=1")
    while tab(page) != "cats":
        assert focused(page) != "Powered by Datasette"
    order = [tab(page) for _ in range(7)]
    title = titles(page).inner_text()
    assert order == [
        *("Search", "Filters and options", "json", title, "more like this", "details"),
        "Next page",
    ]
    assert tab(page).startswith("The same search")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="curl", exact=True)).to_be_visible()


def test_the_keyboard_narrows_down(page):
    page.goto(f"{SEARCH}?q=cats")
    summary(page, "Filters and options").focus()
    page.keyboard.press("Space")
    tab(page)
    page.keyboard.type("topic")
    tab(page)
    tab(page)
    page.keyboard.type("sky")
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{SEARCH}?q=cats&topic__exact=sky")


def test_one_status_stays_and_tells_what_is_new(page):
    page.goto(SEARCH)
    page.evaluate("window.region = document.querySelector('[role=status]')")
    ask(page, "cats")
    expect(status(page)).to_have_text("10 of 26 items, best first.")
    assert page.evaluate("document.querySelector('[role=status]') === window.region")


def test_who_reads_on_while_an_answer_comes_stays_at_that_place(own_page):
    own_page.clock.install()
    own_page.goto(f"{SEARCH}?q=cats")
    own_page.clock.pause_at("2100-01-01")
    summary(own_page, "The same search").click()
    ask(own_page, " need")
    titles(own_page).first.get_by_role("link").focus()
    own_page.clock.run_for(300)
    expect(own_page).to_have_title("cats need: notes")
    expect(own_page.locator("#embeddings-answer")).to_be_focused()
    expect(own_page.get_by_role("heading", name="curl", exact=True)).to_be_visible()
    assert tab(own_page) == "json"


PLACES = {
    "list": "/-/embeddings",
    "form": SEARCH,
    "everything": f"{SEARCH}?q=gloves&_facet=topic&action__not=x&_min_score=-1&_size=2"
    "&_sort_desc=title",
    "gone": f"{SEARCH}?q=the+endgame+of+chess",
    "like": f"{SEARCH}?like=25",
    "fault": f"{SEARCH}?q=cats&_size=none",
    "no match": f"{SEARCH}?q=cats&_min_score=0.99",
    "empty": "/notes/-/embeddings/vacant",
}


@pytest.mark.parametrize("path", PLACES.values(), ids=PLACES)
@in_both_windows
def test_a_page_fits_its_window_and_axe_finds_nothing(page, path):
    page.goto(path)
    assert_fits_and_axe_finds_nothing(page)
