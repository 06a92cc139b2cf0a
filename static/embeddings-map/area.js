// An area that the user draws a line around: its items as a list.

import { part, showArea } from "./side.js";
import { countWithin } from "./tiles.js";

const MOST_CORNERS = 100; // that the server takes
const STEP = 3; // CSS pixels between two corners
const DIGITS = 7; // of a coordinate in the URL

export class Area {
  constructor(page, element) {
    this.page = page;
    this.element = element;
    this.button = part("lasso");
    this.line = null; // corners in CSS pixels, while the user draws
    this.corners = null; // on the map: pairs of x and y
    this.hasDrawn = false; // just now: the click that follows selects no item
    this.button.addEventListener("click", () => this.turn(!this.isOn));
    element.addEventListener("pointerdown", (event) => this.begin(event));
    element.addEventListener("pointermove", (event) => this.go(event));
    element.addEventListener("pointerup", (event) => this.end(event));
    element.addEventListener("pointercancel", (event) => this.end(event));
  }

  get isOn() {
    return this.button.getAttribute("aria-pressed") === "true";
  }

  // Whether the mouse or a finger draws a line now, rather than move the map
  takes(event) {
    return this.isOn || this.hasDrawn || event.shiftKey;
  }

  turn(isOn) {
    this.button.setAttribute("aria-pressed", String(isOn));
    this.element.classList.toggle("embeddings-lasso", isOn);
    if (isOn) this.page.announce("Draw a line around an area of the map");
    this.clear();
  }

  begin(event) {
    if (!this.takes(event) || event.button || !event.isPrimary) return;
    event.preventDefault();
    this.element.focus({ preventScroll: true });
    this.element.setPointerCapture(event.pointerId);
    this.clear();
    this.line = [this.corner(event)];
  }

  go(event) {
    if (!this.line || !event.isPrimary) return;
    const [x, y] = this.corner(event);
    const [lastX, lastY] = this.line[this.line.length - 1];
    if (Math.hypot(x - lastX, y - lastY) < STEP) return;
    this.line.push([x, y]);
    this.page.drawOverlay();
  }

  end(event) {
    if (!this.line || !event.isPrimary) return;
    const line = thinned(this.line);
    this.line = null;
    this.hasDrawn = true;
    setTimeout(() => (this.hasDrawn = false));
    if (event.type === "pointerup" && line.length >= 3) {
      this.turn(false);
      this.show(line.map(([x, y]) => this.page.view.toMap(x, y)));
    }
    this.page.drawOverlay();
  }

  corner(event) {
    const { left, top } = this.element.getBoundingClientRect();
    return [event.clientX - left, event.clientY - top];
  }

  show(corners) {
    const { page } = this;
    this.corners = corners;
    const { loaded, isAll } = page.tiles.of(page.view.rectangle);
    showArea(
      { count: countWithin(loaded, corners), isAll, url: this.url(corners) },
      { close: () => this.clear() },
    );
    part("area").querySelector("a").focus();
  }

  url(corners) {
    const { paths, view } = this.page;
    const numbers = corners.flatMap(([x, y]) => view.coordinates(x, y));
    return `${paths.search}?_area=${numbers.map((each) => Number(each.toPrecision(DIGITS)))}`;
  }

  clear() {
    this.corners = null;
    showArea(null, {});
    this.page.drawOverlay();
  }
}

function thinned(line) {
  const count = Math.min(line.length, MOST_CORNERS);
  return Array.from({ length: count }, (_, i) => line[Math.floor((i * line.length) / count)]);
}
