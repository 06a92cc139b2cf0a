// What is drawn above the points: matches, rings around points, and a line with the mouse.

export class Overlay {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
  }

  // *lit* are places {x, y} on the map, *hovered* and *selected* one each, *area* are
  // corners on the map, *line* corners in CSS pixels; each may be null
  draw(view, { lit, area, line, hovered, selected, radius, colors }) {
    const { canvas, context } = this;
    // An empty canvas takes time too, while the map is dragged
    canvas.hidden = !(lit || area || line || hovered || selected);
    if (canvas.hidden) return;
    const ratio = Math.min(devicePixelRatio || 1, 2);
    canvas.width = Math.round(view.width * ratio);
    canvas.height = Math.round(view.height * ratio);
    context.scale(ratio, ratio);
    const size = Math.max(4, radius * 1.4);
    context.lineWidth = 1.5;
    // The best match is drawn last, above the others
    for (const { x, y } of [...(lit || [])].reverse()) {
      this.disc(view.toScreen(x, y), size, colors.accent, colors.background);
    }
    if (area) this.polygon(area.map(([x, y]) => view.toScreen(x, y)), colors.accent);
    if (line) this.polygon(line, colors.accent);
    if (hovered) this.ring(view.toScreen(hovered.x, hovered.y), size + 2, 2, colors);
    if (selected) this.ring(view.toScreen(selected.x, selected.y), size + 4, 3, colors);
  }

  disc([x, y], radius, fill, stroke) {
    const { context } = this;
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    context.fillStyle = fill;
    context.fill();
    context.strokeStyle = stroke;
    context.stroke();
  }

  ring([x, y], radius, width, { text, background }) {
    const { context } = this;
    for (const [color, thickness] of [[background, width + 3], [text, width]]) {
      context.beginPath();
      context.arc(x, y, radius, 0, 2 * Math.PI);
      context.strokeStyle = color;
      context.lineWidth = thickness;
      context.stroke();
    }
  }

  polygon(corners, color) {
    const { context } = this;
    context.beginPath();
    for (const [x, y] of corners) context.lineTo(x, y);
    context.closePath();
    context.globalAlpha = 0.12;
    context.fillStyle = color;
    context.fill();
    context.globalAlpha = 1;
    context.strokeStyle = color;
    context.lineWidth = 1.5;
    context.stroke();
  }
}
