// Small images of the items in view, where there are few enough points to show them.

import { safe } from "./items.js";
import { inside } from "./tiles.js";

const MOST_POINTS = 600; // in view; with more, images would hide most of them
const MOST_IMAGES = 60;
const SIDE = 64; // CSS pixels

export class Thumbnails {
  constructor(layer) {
    this.layer = layer;
    this.shown = new Map(); // { x, y, element } by id
    this.round = 0;
  }

  // Choose images for the points of *tiles* in view, none above another;
  // *itemOf* returns the item of a point, or null
  async choose(view, tiles, itemOf) {
    const round = ++this.round;
    const points = inside(tiles, view.rectangle, MOST_POINTS + 1);
    const chosen = points.length > MOST_POINTS ? [] : apart(view, points);
    const shown = new Map();
    await Promise.all(
      chosen.map(async (point) => {
        const item = await itemOf(point);
        const url = safe(item?.image_url);
        if (url) shown.set(item.id, { ...point, url });
      }),
    );
    if (round !== this.round) return; // the user has moved on
    for (const [id, { element }] of this.shown) if (!shown.has(id)) element.remove();
    for (const [id, each] of shown) {
      each.element = this.shown.get(id)?.element || this.image(each.url);
    }
    this.shown = shown;
    this.place(view);
  }

  image(url) {
    const image = document.createElement("img");
    Object.assign(image, { src: url, alt: "", decoding: "async", draggable: false });
    image.addEventListener("error", () => image.remove());
    this.layer.append(image);
    return image;
  }

  place(view) {
    for (const { x, y, element } of this.shown.values()) {
      const [left, top] = view.toScreen(x, y);
      element.style.transform = `translate(${left - SIDE / 2}px, ${top - SIDE / 2}px)`;
    }
  }
}

// Points whose images do not overlap
function apart(view, points) {
  const chosen = [];
  for (const point of points) {
    const [x, y] = view.toScreen(point.x, point.y);
    if (chosen.length === MOST_IMAGES) break;
    const isFree = chosen.every((each) => Math.abs(each.at[0] - x) > SIDE || Math.abs(each.at[1] - y) > SIDE);
    if (isFree) chosen.push({ ...point, at: [x, y] });
  }
  return chosen;
}
