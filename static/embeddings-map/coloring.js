// What the points are colored by, and which color is meant.

import { mix, parseColor } from "./drawing.js";
import { part, showLegend } from "./side.js";
import { get } from "./tiles.js";

const DIM = 0.18; // how much of its color a point keeps that is not meant

export class Coloring {
  constructor(page, { by, legend }) {
    this.page = page;
    this.by = by; // null if there is nothing to color by
    this.legend = legend;
    this.only = null; // an index of the legend: all other points are dim
    this.field = part("by");
    this.field?.addEventListener("change", () => this.choose(this.field.value));
  }

  async choose(by) {
    this.by = this.page.tiles.by = by;
    this.only = null;
    await this.page.trying("The colors could not be loaded", async () => {
      const legend = await this.fetchLegend();
      if (this.by !== by) return; // the user has chosen another
      this.legend = legend;
      this.show();
      this.page.writeUrl();
      this.page.redraw();
      await this.page.load();
    });
  }

  async reload() {
    this.only = null;
    if (this.by) this.legend = await this.fetchLegend();
    this.show();
  }

  async fetchLegend() {
    const { paths, map } = this.page;
    const query = new URLSearchParams({ by: this.by, v: map.version });
    return (await get(`${paths.legend}?${query}`)).json();
  }

  show() {
    const { info } = this.page;
    showLegend(this.legend, {
      only: this.only,
      toggle: (index) => this.toggle(index),
      clusterUrl: (value) => this.page.clusterUrl(value),
    });
    // The list of all clusters says nothing more
    const isComplete = this.by === "cluster" && this.legend.values.length >= info.clusters.length;
    if (part("clusters")) part("clusters").hidden = isComplete;
  }

  toggle(index) {
    this.only = this.only === index ? null : index;
    this.show();
    part("legend").querySelectorAll("button")[index].focus();
    this.page.redraw();
  }

  // Colors for Drawing.draw; with *areAllDim* none of the points is meant
  layers(background, areAllDim) {
    const none = parseColor(this.legend?.no_value_color || this.page.colors.accent);
    const palette = Array.from({ length: 256 }, (_, index) => {
      const value = this.legend?.values[index];
      return value ? parseColor(value.color) : none;
    });
    const dim = palette.map((color) => mix(color, background, DIM));
    if (areAllDim) return [dim];
    // Those that are meant are above the others; all are that have a color of their own
    const isMeant = palette.map((_, index) =>
      this.only === null ? this.legend?.values[index]?.value != null : index === this.only,
    );
    const below = this.only === null ? palette : dim;
    return [
      below.map((color, index) => (isMeant[index] ? -1 : color)),
      palette.map((color, index) => (isMeant[index] ? color : -1)),
    ];
  }
}
