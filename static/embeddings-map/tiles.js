// The points of a map by tile: which tiles a view needs, and what is loaded of them.
// Positions are in the square of tile 1: x from 0 to 1 to the right, y from 0 to 1 down.

// A view gets whole levels of tiles, or parts of it would look more dense than others.
// With 9 tiles in the last level the first view loads at most 14, 290 kB with colors
const MOST_IN_LEVEL = 9;
// A map of as many documents is loaded to its end, when the first view is there
const MOST_WHOLE = 100_000;
const LARGEST = 65535; // of a uint16

export class ChangedError extends Error {} // the map is another one by now

export class Tiles {
  constructor(paths, map) {
    this.paths = paths;
    this.map = map;
    this.tiles = new Map(); // by number
    this.requests = new Map(); // by URL; the same is not asked twice
    this.by = null; // what the colors are by
    this.isWhole = false; // whether tiles are loaded that no view needs
  }

  get canBeWhole() {
    return this.map.documents <= MOST_WHOLE;
  }

  // How many points are loaded
  get count() {
    return [...this.tiles.values()].reduce((count, tile) => count + tile.count, 0);
  }

  // What of *view*, a rectangle {left, top, right, bottom}, is loaded and what is not;
  // *isAll*: whether these are all of its points
  of(view) {
    const loaded = [];
    const missing = [];
    let level = [1];
    while (level.length && !missing.length) {
      for (const number of level) {
        const tile = this.tiles.get(number);
        if (!tile) missing.push(number);
        else if (overlap(tile, view)) loaded.push(tile);
      }
      const next = level.flatMap((number) => this.tiles.get(number)?.children || []);
      const seen = next.filter((number) => overlap(square(number), view));
      level = this.isWhole ? next : seen;
      if (!this.isWhole && seen.length > MOST_IN_LEVEL) {
        return { loaded, missing, isAll: false };
      }
    }
    return { loaded, missing, isAll: !missing.length };
  }

  // Load what *view* needs next; true if there may be more to load
  async load(view) {
    const { loaded, missing } = this.of(view);
    const uncolored = this.by ? loaded.filter((tile) => tile.by !== this.by) : [];
    await Promise.all([
      ...missing.map((number) => this.loadTile(number)),
      ...uncolored.map((tile) => this.color(tile)),
    ]);
    return missing.length + uncolored.length > 0;
  }

  async loadTile(number) {
    const url = `${fill(this.paths.tiles, number)}?v=${this.map.version}`;
    const colors = this.loadColors(number);
    const response = await this.request(url);
    const { by, indexes } = await colors;
    const tile = decode(number, response);
    tile.by = by;
    tile.colors = indexes;
    this.tiles.set(number, tile);
  }

  async color(tile) {
    const { by, indexes } = await this.loadColors(tile.number);
    tile.by = by;
    tile.colors = indexes;
  }

  async loadColors(number) {
    const by = this.by;
    if (!by) return { by, indexes: null };
    const query = new URLSearchParams({ by, v: this.map.version });
    const url = `${fill(this.paths.colors, number)}?${query}`;
    return { by, indexes: new Uint8Array(await this.request(url)) };
  }

  // The id of a point; null if it has none that a URL can have
  async id({ tile, index }) {
    if (!tile.ids) {
      const url = `${fill(this.paths.ids, tile.number)}?v=${this.map.version}`;
      tile.ids = (await this.request(url, "json")).ids;
    }
    return tile.ids[index] ?? null;
  }

  request(url, kind = "arrayBuffer") {
    if (!this.requests.has(url)) {
      const forget = () => this.requests.delete(url);
      const request = get(url).then((response) => response[kind]());
      this.requests.set(url, request);
      request.then(forget, forget);
    }
    return this.requests.get(url);
  }
}

// The response to a GET; what the server says is the message of the error
export async function get(url, options) {
  const response = await fetch(url, options);
  if (response.ok) return response;
  if (response.status === 410) throw new ChangedError("The map has changed");
  const body = await response.json().catch(() => ({}));
  throw new Error(body.error || `the server answered ${response.status}`);
}

export function fill(path, number) {
  return path.replace("{n}", number);
}

// Where tile *number* is: {x, y, side}
export function square(number) {
  let [x, y, side] = [0, 0, 1];
  const depth = Math.floor(Math.log2(number) / 2);
  for (let level = depth - 1; level >= 0; level--) {
    const quarter = Math.floor(number / 4 ** level) % 4;
    side /= 2;
    x += side * (quarter & 1);
    y += side * (1 - (quarter >> 1)); // the upper quarters have the second bit
  }
  return { x, y, side };
}

function overlap({ x, y, side }, view) {
  return (
    x <= view.right && view.left <= x + side && y <= view.bottom && view.top <= y + side
  );
}

// A tile of its bytes: the count, which children there are, all x, all y
function decode(number, buffer) {
  const header = new DataView(buffer);
  const count = header.getUint32(0, true);
  const bits = header.getUint32(4, true);
  const { x, y, side } = square(number);
  const numbers = (start) =>
    Float32Array.from({ length: count }, (_, i) => header.getUint16(start + 2 * i, true));
  return {
    ...{ number, x, y, side, count, ids: null },
    children: [0, 1, 2, 3].filter((q) => bits & (1 << q)).map((q) => 4 * number + q),
    xs: numbers(8).map((each) => x + (each / LARGEST) * side),
    ys: numbers(8 + 2 * count).map((each) => y + (1 - each / LARGEST) * side),
  };
}

// The point of *tiles* that is nearest to a place, and not farther than *distance*
export function nearest(tiles, x, y, distance) {
  let best = null;
  let least = distance * distance;
  for (const tile of tiles) {
    if (x < tile.x - distance || x > tile.x + tile.side + distance) continue;
    if (y < tile.y - distance || y > tile.y + tile.side + distance) continue;
    for (let index = 0; index < tile.count; index++) {
      const dx = tile.xs[index] - x;
      const dy = tile.ys[index] - y;
      const squared = dx * dx + dy * dy;
      if (squared <= least) {
        least = squared;
        best = { tile, index };
      }
    }
  }
  return best && point(best.tile, best.index);
}

// The nearest point in a direction, such as (1, 0): one aside counts as farther away
export function next(tiles, from, [right, down]) {
  let best = null;
  let least = Infinity;
  for (const tile of tiles) {
    for (let index = 0; index < tile.count; index++) {
      const dx = tile.xs[index] - from.x;
      const dy = tile.ys[index] - from.y;
      const ahead = dx * right + dy * down;
      if (ahead <= 0) continue;
      const aside = Math.abs(dx * down) + Math.abs(dy * right);
      const score = ahead + 2 * aside;
      if (aside <= 2 * ahead && score < least) {
        least = score;
        best = { tile, index };
      }
    }
  }
  return best && point(best.tile, best.index);
}

export function point(tile, index) {
  return { tile, index, x: tile.xs[index], y: tile.ys[index] };
}

// The points of *tiles* in *view*, at most *limit*
export function inside(tiles, view, limit = Infinity) {
  const points = [];
  for (const tile of tiles) {
    for (let index = 0; index < tile.count; index++) {
      const [x, y] = [tile.xs[index], tile.ys[index]];
      const isSeen = x >= view.left && x <= view.right && y >= view.top && y <= view.bottom;
      if (isSeen && points.push({ tile, index, x, y }) >= limit) return points;
    }
  }
  return points;
}

// How many points of *tiles* are in *view*
export function count(tiles, { left, top, right, bottom }) {
  let found = 0;
  for (const { xs, ys } of tiles) {
    for (let i = 0; i < xs.length; i++) {
      if (xs[i] >= left && xs[i] <= right && ys[i] >= top && ys[i] <= bottom) found += 1;
    }
  }
  return found;
}

// How many points of *tiles* are in an area: a line from each crosses its edges
export function countWithin(tiles, corners) {
  let count = 0;
  for (const { xs, ys, count: points } of tiles) {
    for (let i = 0; i < points; i++) {
      let isInside = false;
      for (let a = 0, b = corners.length - 1; a < corners.length; b = a++) {
        const [xa, ya] = corners[a];
        const [xb, yb] = corners[b];
        const crosses = ya > ys[i] !== yb > ys[i];
        if (crosses && xs[i] < xa + ((xb - xa) * (ys[i] - ya)) / (yb - ya)) isInside = !isInside;
      }
      if (isInside) count += 1;
    }
  }
  return count;
}
