// The map of a collection: every item a point, near those with a similar meaning.
// The page's URL has the colors and the search, the part after # the view and the item.

import { Area } from "./embeddings-map/area.js";
import { Coloring } from "./embeddings-map/coloring.js";
import { Drawing, parseColor } from "./embeddings-map/drawing.js";
import { Items, number } from "./embeddings-map/items.js";
import { Names } from "./embeddings-map/names.js";
import { Overlay } from "./embeddings-map/overlay.js";
import { Searching } from "./embeddings-map/searching.js";
import { Selecting } from "./embeddings-map/selecting.js";
import { part } from "./embeddings-map/side.js";
import { Thumbnails } from "./embeddings-map/thumbnails.js";
import { ChangedError, Tiles, count, get } from "./embeddings-map/tiles.js";
import { View } from "./embeddings-map/view.js";

const SETTLE_MS = 120; // after a movement, before tiles are loaded
const STEP = 1.5; // of a zoom by a key or a button
const SAMPLE = 25_000; // points of a large map in view, about
const RADII = [1, 6]; // of a point, in CSS pixels: the least and the most

class MapPage {
  constructor({ map: info, by, legend, paths }) {
    const element = part("view");
    for (const name of ["view", "buttons", "loaded"]) part(name).hidden = false;
    this.paths = paths;
    this.info = info; // the body of map.json
    this.colors = colorsOf(element);
    this.drawing = new Drawing(part("points"));
    this.overlay = new Overlay(part("overlay"));
    this.names = new Names(part("names"));
    this.thumbnails = new Thumbnails(part("images"));
    this.items = new Items(paths);
    this.coloring = new Coloring(this, { by, legend });
    this.tiles = this.newTiles();
    this.view = new View(element, this.map, {
      moved: () => this.moved(),
      settled: () => this.settled(),
      takes: (event) => event.type === "wheel" || !this.area.takes(event),
    });
    this.area = new Area(this, element);
    this.selecting = new Selecting(this, element);
    this.searching = new Searching(this);
    this.listen(element);
  }

  get map() {
    return this.info.map;
  }

  newTiles() {
    const tiles = new Tiles(this.paths, this.map);
    tiles.by = this.coloring.by;
    return tiles;
  }

  listen(element) {
    part("in").addEventListener("click", () => this.view.zoomBy(STEP));
    part("out").addEventListener("click", () => this.view.zoomBy(1 / STEP));
    part("reset").addEventListener("click", () => this.view.reset());
    element.addEventListener("keydown", (event) => this.keyDown(event, element));
    addEventListener("hashchange", () => this.readHash());
    new ResizeObserver(() => {
      this.view.resize();
      this.redraw();
    }).observe(element);
  }

  begin() {
    if (this.coloring.legend) this.coloring.show();
    this.placeNames();
    this.readHash();
    this.searching.begin();
    return this.load();
  }

  keyDown(event, element) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target !== element) return;
    if (event.key === "Escape") this.leave(element);
    else if (!this.zoom(event.key) && !this.selecting.press(event.key)) return;
    event.preventDefault();
  }

  zoom(key) {
    if (key === "+" || key === "=") this.view.zoomBy(STEP);
    else if (key === "-") this.view.zoomBy(1 / STEP);
    else if (key === "0") this.view.reset();
    else return false;
    return true;
  }

  // Take back one thing after the other, and leave the map at last
  leave(element) {
    if (this.area.isOn || this.area.corners) this.area.turn(false);
    else if (this.selecting.selected) this.selecting.select(null);
    else if (this.searching.found) this.searching.clear();
    else element.blur();
  }

  // Drawing

  moved() {
    this.selecting?.hover(null);
    this.redraw();
  }

  redraw() {
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      this.draw();
    });
  }

  draw() {
    if (!this.drawing.resize()) return;
    const { view } = this;
    const background = parseColor(this.colors.background);
    this.drawing.draw(this.tiles.of(view.rectangle).loaded, view.placement, {
      radius: this.radius,
      background,
      layers: this.coloring.layers(background, this.searching.found !== null),
    });
    this.drawOverlay();
    this.names.place(view, this.searching.found !== null || this.coloring.only !== null);
    this.thumbnails.place(view);
  }

  drawOverlay() {
    const { radius, colors, area, selecting } = this;
    const { hovered, selected } = selecting;
    this.overlay.draw(this.view, {
      ...{ radius, colors, hovered, selected },
      lit: this.searching.places,
      area: area.corners,
      line: area.line,
    });
  }

  // Of a point, in CSS pixels: less where there are more, and more when the user zooms in
  get radius() {
    const { width, height, transform } = this.view;
    const shown = this.tiles.canBeWhole ? this.map.documents : SAMPLE;
    const radius = 0.25 * Math.sqrt((width * height) / shown) * transform.k ** 0.35;
    return Math.min(Math.max(radius, RADII[0]), RADII[1]);
  }

  placeNames() {
    const placed = this.info.clusters.filter(({ x }) => x != null);
    this.names.set(placed.map(({ name, x, y }) => ({ name, ...this.view.place(x, y) })));
  }

  // Loading

  settled() {
    clearTimeout(this.settling);
    this.settling = setTimeout(() => {
      this.writeHash();
      this.load();
    }, SETTLE_MS);
  }

  // Load what the view needs, level by level, then all of a map that is not too large
  load() {
    return this.trying("Not all of the map could be loaded", async () => {
      const { tiles } = this;
      let hasMore = true;
      while (hasMore && tiles === this.tiles) {
        hasMore = await tiles.load(this.view.rectangle);
        this.redraw();
        this.say();
        if (hasMore || tiles.isWhole || !tiles.canBeWhole) continue;
        tiles.isWhole = hasMore = true;
      }
      if (this.info.has_images) await this.chooseThumbnails();
    });
  }

  chooseThumbnails() {
    const { loaded } = this.tiles.of(this.view.rectangle);
    return this.thumbnails.choose(this.view, loaded, (point) => this.itemOf(point));
  }

  // The item of a point, null if it has none by now
  async itemOf(point) {
    let item = null;
    await this.trying("The item could not be loaded", async () => {
      const id = await this.tiles.id(point);
      if (id !== null) item = await this.items.get(id);
    });
    return item;
  }

  // Do what asks the server; if the map is another one by now, show that
  async trying(problem, action) {
    try {
      await action();
    } catch (error) {
      if (error.name === "AbortError") return;
      if (error instanceof ChangedError) await this.reload();
      else this.say(`${problem}: ${error.message}`);
    }
  }

  async reload() {
    const place = this.view.hash;
    this.info = await (await get(this.paths.json)).json();
    this.tiles = this.newTiles();
    this.selecting.hover(null);
    this.selecting.select(null);
    this.area.clear();
    this.searching.clear();
    this.view.use(this.map);
    if (place) this.view.hash = place;
    await this.coloring.reload();
    this.placeNames();
    await this.load();
  }

  // What is shown, or *text*
  say(text) {
    const { rectangle } = this.view;
    const { loaded, isAll } = this.tiles.of(rectangle);
    const { documents } = this.map;
    const all = documents === 1 ? "1 item" : `${number(documents)} items`;
    const some = `${number(count(loaded, rectangle))} of ${all}`;
    const more = isAll ? some : `${some}; zoom in for more`;
    part("loaded").textContent = text || (this.tiles.count >= documents ? all : more);
  }

  // For screen readers
  announce(text) {
    part("status").textContent = text;
  }

  clusterUrl(cluster) {
    return `${this.paths.search}?${new URLSearchParams({ _cluster: cluster })}`;
  }

  // The URL, which leads to the same page again

  writeUrl() {
    const url = new URL(location.href);
    for (const name of ["q", "like", "by"]) url.searchParams.delete(name);
    const query = this.searching.found?.query || {};
    for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
    const { by } = this.coloring;
    if (by && by !== this.info.colors[0]) url.searchParams.set("by", by);
    replaceUrl(url);
  }

  // "x,y,zoom/item": the first is "all" if all is shown, the second may be missing
  writeHash() {
    const id = this.selecting.selected?.item?.id;
    const url = new URL(location.href);
    url.hash = this.view.hash;
    if (id) url.hash = `${this.view.hash || "all"}/${encodeURIComponent(id)}`;
    replaceUrl(url);
  }

  async readHash() {
    const [place, id] = location.hash.slice(1).split("/");
    if (place && place !== "all") this.view.hash = place;
    if (!id) return;
    await this.trying("The item could not be loaded", async () => {
      const item = await this.items.get(decodeURIComponent(id));
      if (item?.x == null) return;
      const isMoved = false;
      await this.selecting.select(this.view.place(item.x, item.y), item, { isMoved });
    });
  }
}

// A site may set them in its stylesheet
function colorsOf(element) {
  const style = getComputedStyle(element);
  const color = (name) => style.getPropertyValue(`--embeddings-map-${name}`).trim();
  return { background: color("background"), text: color("text"), accent: color("accent") };
}

function replaceUrl(url) {
  if (url.href !== location.href) history.replaceState(history.state, "", url);
}

new MapPage(JSON.parse(part("data").textContent)).begin();
