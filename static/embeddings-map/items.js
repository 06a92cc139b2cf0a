// What the server says of items: their titles, texts and links. Text from data becomes
// text of the page, never HTML, and a link is one to a page or to nothing.

import { get } from "./tiles.js";

const MOST_AT_ONCE = 50;
const PAUSE_MS = 20; // in which items are asked for together

export class Items {
  constructor(paths) {
    this.paths = paths;
    this.known = new Map(); // promises by id
    this.asked = [];
  }

  // The item, or null if there is none by now
  get(id) {
    if (!this.known.has(id)) {
      const answer = new Promise((found, failed) => {
        if (!this.asked.length) setTimeout(() => this.ask(), PAUSE_MS);
        this.asked.push({ id, found, failed });
      });
      this.known.set(id, answer);
      answer.catch(() => this.known.delete(id));
    }
    return this.known.get(id);
  }

  async ask() {
    const asked = this.asked.splice(0, MOST_AT_ONCE);
    if (this.asked.length) setTimeout(() => this.ask(), PAUSE_MS);
    try {
      const query = new URLSearchParams(asked.map(({ id }) => ["id", id]));
      const response = await get(`${this.paths.items}?${query}`);
      const items = new Map((await response.json()).items.map((each) => [each.id, each]));
      for (const { id, found } of asked) found(items.get(id) || null);
    } catch (error) {
      for (const { failed } of asked) failed(error);
    }
  }
}

export function title(item) {
  return item.title || item.id;
}

// *url* if a browser may open it as a page or an image, else null
export function safe(url) {
  if (!url) return null;
  try {
    return ["http:", "https:"].includes(new URL(url, location.href).protocol) ? url : null;
  } catch {
    return null;
  }
}

// An element with properties, such as {className}, and children: elements and text
export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children.filter((each) => each != null));
  return made;
}

export function link(url, text, properties = {}) {
  const name = element("bdi", {}, text);
  return safe(url) ? element("a", { ...properties, href: url }, name) : name;
}

export function number(count) {
  return count.toLocaleString("en");
}
