// Draws points on a 2D canvas, pixel by pixel, without WebGL: where no graphics card is,
// browsers emulate WebGL, and a frame of 100,000 points takes eight times as long.

const MOST_PIXELS = 2; // for each CSS pixel and direction; more take longer than they show
const OPACITY = 0.85; // of a point, so that many above each other look denser
const MARGIN = 16; // pixels around the picture, into which points at its edge reach
const FINE = 4; // parts of a pixel, in each direction, that decide how much of it is covered

export class Drawing {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { alpha: false });
    this.stamps = new Map(); // by radius
  }

  // To the size of the canvas in the page; false if it has none
  resize() {
    const { clientWidth, clientHeight } = this.canvas;
    this.ratio = Math.min(devicePixelRatio || 1, MOST_PIXELS);
    const width = Math.round(clientWidth * this.ratio);
    const height = Math.round(clientHeight * this.ratio);
    if (!width || !height) return false;
    if (this.image && this.canvas.width === width && this.canvas.height === height) return true;
    this.canvas.width = width;
    this.canvas.height = height;
    this.image = this.context.createImageData(width + 2 * MARGIN, height + 2 * MARGIN);
    this.pixels = new Uint32Array(this.image.data.buffer);
    return true;
  }

  // The points of *tiles*: at (x * scale + left, y * scale + top), in CSS pixels.
  // *layers* are drawn one above the other: of each index of a color (0 to 255) its
  // color as 0xRRGGBB, or -1 for no point
  draw(tiles, { scale, left, top }, { radius, background, layers }) {
    this.pixels.fill(pixel(background));
    const stamp = this.stamp(Math.max(0.5, Math.round(radius * this.ratio * 4) / 4));
    const at = {
      scale: scale * this.ratio,
      // Whole pixels: when the map is dragged all points move alike
      left: Math.round(left * this.ratio) + MARGIN,
      top: Math.round(top * this.ratio) + MARGIN,
    };
    for (const colors of layers) {
      const pixels = Int32Array.from(colors, (color) => (color < 0 ? -1 : pixel(color) & 0xffffff));
      for (const tile of tiles) this.drawTile(tile, at, stamp, pixels);
    }
    this.context.putImageData(this.image, -MARGIN, -MARGIN);
  }

  drawTile({ xs, ys, count, colors }, { scale, left, top }, { reach, offsets, alphas }, palette) {
    const { pixels, image } = this;
    const width = image.width;
    const [right, bottom] = [width - reach, image.height - reach];
    for (let i = 0; i < count; i++) {
      const x = (xs[i] * scale + left) | 0;
      const y = (ys[i] * scale + top) | 0;
      if (x < reach || y < reach || x >= right || y >= bottom) continue;
      const color = palette[colors ? colors[i] : 255];
      if (color < 0) continue;
      const redAndBlue = color & 0xff00ff;
      const green = color & 0xff00;
      const center = y * width + x;
      for (let k = 0; k < offsets.length; k++) {
        const place = center + offsets[k];
        const alpha = alphas[k]; // of 256
        const rest = 256 - alpha;
        const below = pixels[place];
        const mixed = Math.imul(redAndBlue, alpha) + Math.imul(below & 0xff00ff, rest);
        const mixedGreen = green * alpha + (below & 0xff00) * rest;
        pixels[place] =
          0xff000000 | ((mixed >>> 8) & 0xff00ff) | ((mixedGreen >>> 8) & 0xff00);
      }
    }
  }

  // The pixels of a disc: how far each is from the middle, and how much of it is covered
  stamp(radius) {
    const key = `${radius} ${this.image.width}`;
    if (!this.stamps.has(key)) {
      const reach = Math.ceil(radius);
      const [offsets, alphas] = [[], []];
      for (let y = -reach; y <= reach; y++) {
        for (let x = -reach; x <= reach; x++) {
          const alpha = Math.round(256 * OPACITY * covered(x, y, radius));
          if (!alpha) continue;
          offsets.push(y * this.image.width + x);
          alphas.push(alpha);
        }
      }
      this.stamps.set(key, {
        reach,
        offsets: Int32Array.from(offsets),
        alphas: Int32Array.from(alphas),
      });
    }
    return this.stamps.get(key);
  }
}

// The share of a pixel that is in a disc around (0, 0)
function covered(x, y, radius) {
  let count = 0;
  for (let i = 0; i < FINE; i++) {
    for (let k = 0; k < FINE; k++) {
      const [dx, dy] = [x + (i + 0.5) / FINE - 0.5, y + (k + 0.5) / FINE - 0.5];
      if (dx * dx + dy * dy <= radius * radius) count += 1;
    }
  }
  return count / FINE ** 2;
}

// 0xRRGGBB as a pixel of an image, whose bytes are red, green, blue, opacity
function pixel(color) {
  return (0xff000000 | ((color & 0xff) << 16) | (color & 0xff00) | (color >> 16)) >>> 0;
}

// "#4278d2" or "rgb(66, 120, 210)" as a number
export function parseColor(text) {
  const hex = /^#([0-9a-f]{6})$/i.exec(text);
  if (hex) return parseInt(hex[1], 16);
  const [red, green, blue] = (text.match(/\d+/g) || [255, 255, 255]).map(Number);
  return (red << 16) | (green << 8) | blue;
}

// *share* of a color, and the rest of another
export function mix(color, other, share) {
  const part = (shift) =>
    Math.round(((color >> shift) & 255) * share + ((other >> shift) & 255) * (1 - share)) << shift;
  return part(16) | part(8) | part(0);
}
