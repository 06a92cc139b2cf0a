// Which part of the map is shown. Places on the map are those of tiles.js: 0 to 1, y down.

import { select, zoom, zoomIdentity } from "../vendor/d3-zoom.js";

const FILLED = 0.92; // of the window, when all points are shown
const MOST_ZOOM = 5000;
const LEAST_ZOOM = 0.7;
const MOVE_MS = 250;

const isStill = matchMedia("(prefers-reduced-motion: reduce)");

export class View {
  // *moved* is called with each step of a movement, *settled* at its end;
  // *takes* says whether an event moves the map
  constructor(element, map, { moved, settled, takes }) {
    this.element = element;
    this.transform = zoomIdentity;
    this.zoom = zoom()
      .scaleExtent([LEAST_ZOOM, MOST_ZOOM])
      .filter((event) => (!event.ctrlKey || event.type === "wheel") && !event.button && takes(event))
      .on("zoom", ({ transform }) => {
        this.transform = transform;
        moved();
      })
      .on("end", settled);
    this.selection = select(element).call(this.zoom);
    this.use(map);
  }

  use(map) {
    this.map = map;
    const { left, bottom, side } = map.square;
    const [x0, x1] = [(map.min_x - left) / side, (map.max_x - left) / side];
    const [y0, y1] = [1 - (map.max_y - bottom) / side, 1 - (map.min_y - bottom) / side];
    this.box = { left: x0, right: x1, top: y0, bottom: y1 };
    this.resize();
  }

  // Keep the place in the middle and the zoom where they were
  resize() {
    const before = this.width ? this.middle : null;
    const { left, right, top, bottom } = this.box;
    this.width = this.element.clientWidth || 1;
    this.height = this.element.clientHeight || 1;
    const widest = Math.max(right - left, 1e-6);
    const highest = Math.max(bottom - top, 1e-6);
    this.unit = FILLED * Math.min(this.width / widest, this.height / highest, 1e6);
    this.offset = [
      this.width / 2 - ((left + right) / 2) * this.unit,
      this.height / 2 - ((top + bottom) / 2) * this.unit,
    ];
    const [x, y] = this.offset;
    this.zoom.extent([[0, 0], [this.width, this.height]]).translateExtent([
      [left * this.unit + x - this.width / 2, top * this.unit + y - this.height / 2],
      [right * this.unit + x + this.width / 2, bottom * this.unit + y + this.height / 2],
    ]);
    if (before) this.go(before.x, before.y, this.transform.k, { isAtOnce: true });
  }

  get scale() {
    return this.transform.k * this.unit;
  }

  // A point is at (x * scale + left, y * scale + top) in CSS pixels
  get placement() {
    const { k, x, y } = this.transform;
    return {
      scale: this.scale,
      left: k * this.offset[0] + x,
      top: k * this.offset[1] + y,
    };
  }

  get middle() {
    const [x, y] = this.toMap(this.width / 2, this.height / 2);
    return { x, y };
  }

  get rectangle() {
    const [left, top] = this.toMap(0, 0);
    const [right, bottom] = this.toMap(this.width, this.height);
    return { left, top, right, bottom };
  }

  toScreen(x, y) {
    const { scale, left, top } = this.placement;
    return [x * scale + left, y * scale + top];
  }

  toMap(x, y) {
    const { scale, left, top } = this.placement;
    return [(x - left) / scale, (y - top) / scale];
  }

  // The coordinates that the server knows of a place, and the other way around
  coordinates(x, y) {
    const { left, bottom, side } = this.map.square;
    return [left + x * side, bottom + (1 - y) * side];
  }

  place(x, y) {
    const { left, bottom, side } = this.map.square;
    return { x: (x - left) / side, y: 1 - (y - bottom) / side };
  }

  go(x, y, k, { isAtOnce = false } = {}) {
    const transform = zoomIdentity
      .translate(this.width / 2, this.height / 2)
      .scale(k)
      .translate(-(x * this.unit + this.offset[0]), -(y * this.unit + this.offset[1]));
    this.zoom.transform(isAtOnce ? this.selection : this.smoothly(), transform);
  }

  // Move it only as far as is needed to show a place
  reveal(x, y) {
    const [left, top] = this.toScreen(x, y);
    const margin = Math.min(this.width, this.height) / 8;
    const isSeen =
      left > margin && left < this.width - margin && top > margin && top < this.height - margin;
    if (!isSeen) this.go(x, y, this.transform.k);
  }

  zoomBy(factor) {
    this.zoom.scaleBy(this.smoothly(), factor);
  }

  reset() {
    this.zoom.transform(this.smoothly(), zoomIdentity);
  }

  get isReset() {
    return Math.abs(this.transform.k - 1) < 1e-6 && Math.hypot(this.transform.x, this.transform.y) < 1;
  }

  smoothly() {
    return isStill.matches ? this.selection : this.selection.transition().duration(MOVE_MS);
  }

  // "x,y,zoom" in the coordinates of the server; empty where all is shown
  get hash() {
    if (this.isReset) return "";
    const [x, y] = this.coordinates(this.middle.x, this.middle.y);
    return [x, y, this.transform.k].map((each) => Number(each.toPrecision(6))).join(",");
  }

  set hash(text) {
    const [x, y, k] = text.split(",").map(Number);
    if (![x, y, k].every(Number.isFinite)) return;
    const place = this.place(x, y);
    const zoom = Math.min(Math.max(k, LEAST_ZOOM), MOST_ZOOM);
    this.go(place.x, place.y, zoom, { isAtOnce: true });
  }
}
