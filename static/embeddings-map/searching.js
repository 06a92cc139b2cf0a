// A search on the map: its matches are lit up, and all other points are dim.

import { title } from "./items.js";
import { part, showMatches } from "./side.js";
import { get } from "./tiles.js";

export class Searching {
  constructor(page) {
    this.page = page;
    this.found = null; // { matches, label, query }
    this.request = new AbortController();
    this.box = part("q");
    part("form").addEventListener("submit", (event) => {
      event.preventDefault();
      const text = this.box.value.trim();
      if (text) this.find({ q: text }, text);
      else this.clear();
    });
    // Also the cross in the box
    this.box.addEventListener("search", () => this.box.value || this.clear());
  }

  // The search in the URL of the page
  begin() {
    const asked = new URLSearchParams(location.search);
    const [text, like] = [asked.get("q"), asked.get("like")];
    this.box.value = text || "";
    if (text) this.find({ q: text }, text);
    else if (like) this.find({ like }, like);
  }

  similar(item) {
    this.box.value = "";
    return this.find({ like: item.id }, `similar to ${title(item)}`);
  }

  // The places of the matches, null without a search
  get places() {
    return this.found && this.found.matches.map(({ place }) => place).filter(Boolean);
  }

  async find(query, label) {
    const { page } = this;
    this.request.abort();
    const { signal } = (this.request = new AbortController());
    page.say("Searching …");
    await page.trying("The search has no answer", async () => {
      const url = `${page.paths.matches}?${new URLSearchParams(query)}`;
      const { matches } = await (await get(url, { signal })).json();
      const placed = matches.map((match) => ({
        ...match,
        place: match.x == null ? null : page.view.place(match.x, match.y),
      }));
      this.found = { matches: placed, label, query };
      this.show();
      page.say();
      page.announce(`${placed.length} matches: ${label}`);
    });
    if (!signal.aborted) this.changed();
  }

  show() {
    const { label, query } = this.found;
    showMatches(this.found, {
      label,
      url: `${this.page.paths.search}?${new URLSearchParams(query)}`,
      select: (match) => this.page.selecting.selectMatch(match),
      close: () => {
        this.box.value = "";
        this.clear();
        this.box.focus();
      },
    });
  }

  clear() {
    this.request.abort();
    this.found = null;
    showMatches(null, {});
    this.changed();
  }

  changed() {
    this.page.writeUrl();
    this.page.redraw();
  }
}
