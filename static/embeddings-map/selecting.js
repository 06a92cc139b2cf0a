// One point: the one below the mouse, and the one that the user has selected, by a click,
// by the arrow keys or in a list.

import { title } from "./items.js";
import { part, showHint, showItem } from "./side.js";
import { nearest, next } from "./tiles.js";

const NEAR = { mouse: 10, touch: 22 }; // CSS pixels from a point that mean the point
const HOVER_MS = 60; // before the item below the mouse is asked for
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export class Selecting {
  constructor(page, element) {
    this.page = page;
    this.element = element;
    this.hovered = null; // a point: { tile, index, x, y }
    this.selected = null; // a place { x, y }, later with its item
    element.addEventListener("pointermove", (event) => {
      const isOver = event.pointerType === "mouse" && !event.buttons && !page.area.takes(event);
      this.hover(isOver ? this.pointAt(event) : null);
    });
    element.addEventListener("pointerleave", () => this.hover(null));
    element.addEventListener("click", (event) => {
      if (!page.area.takes(event)) this.select(this.pointAt(event), null, { isMoved: false });
    });
  }

  get tiles() {
    return this.page.tiles.of(this.page.view.rectangle).loaded;
  }

  pointAt(event) {
    const { view } = this.page;
    const { left, top } = this.element.getBoundingClientRect();
    const [x, y] = view.toMap(event.clientX - left, event.clientY - top);
    const near = event.pointerType === "touch" ? NEAR.touch : NEAR.mouse;
    return nearest(this.tiles, x, y, (near + this.page.radius) / view.scale);
  }

  hover(point) {
    if (point?.tile === this.hovered?.tile && point?.index === this.hovered?.index) return;
    this.hovered = point;
    this.element.classList.toggle("embeddings-over", point !== null);
    showHint(null, [], this.page.view);
    clearTimeout(this.hovering);
    if (point) this.hovering = setTimeout(() => this.hint(point), HOVER_MS);
    this.page.drawOverlay();
  }

  async hint(point) {
    const { view } = this.page;
    const item = await this.page.itemOf(point);
    if (this.hovered === point && item) showHint(item, view.toScreen(point.x, point.y), view);
  }

  // *place* is a point of a tile, or one of *item*; null selects nothing
  async select(place, item = null, { isMoved = true } = {}) {
    const { page } = this;
    this.selected = place;
    if (!place) showItem(null, {});
    else if (isMoved) page.view.reveal(place.x, place.y);
    page.drawOverlay();
    if (place) {
      const shown = item || (await page.itemOf(place));
      if (this.selected !== place) return; // the user is faster
      place.item = shown;
      this.show(shown);
    }
    page.writeHash();
  }

  show(item) {
    const { page } = this;
    const cluster = item && page.info.clusters.find((each) => each.cluster === item.cluster);
    showItem(item, {
      cluster,
      clusterUrl: cluster && page.clusterUrl(cluster.cluster),
      similar: () => page.searching.similar(item),
      close: () => {
        this.select(null);
        this.element.focus();
      },
    });
    const words = [item && title(item), cluster?.name].filter(Boolean).join(", ");
    page.announce(words || "This item has no page");
  }

  async selectMatch(match) {
    const item = await this.page.items.get(match.id).catch(() => null);
    await this.select({ ...match.place }, item || match);
  }

  // Select the next item in a direction; the first is the one nearest to the middle
  step(direction) {
    const { middle } = this.page.view;
    const { selected } = this;
    const point = selected
      ? next(this.tiles, selected, direction)
      : nearest(this.tiles, middle.x, middle.y, Infinity);
    if (point) this.select(point);
    else this.page.announce("No more items in this direction");
  }

  // Whether a key has done something
  press(key) {
    if (ARROWS[key]) this.step(ARROWS[key]);
    else if (key === "Enter") part("item").querySelector("h2 a")?.click();
    else return false;
    return true;
  }
}
