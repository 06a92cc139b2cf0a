// Shows what is at a place of an axis while the slider moves, or where the user points in
// the picture. Without this script the button of the form does the same.
(() => {
  "use strict";

  const PAUSE_MS = 120; // after the last move

  const part = (name) => document.getElementById(`embeddings-${name}`);
  const form = part("axis-form");
  const list = part("axis-near");
  const status = part("axis-status");
  const picture = part("axis-plot");
  // Those of the axes that there are: a slider, and its line in the picture
  const axes = [
    { slider: part("at"), line: part("axis-x"), sides: ["x1", "x2"] },
    { slider: part("at2"), line: part("axis-y"), sides: ["y1", "y2"] },
  ].filter((axis) => axis.slider);
  if (!axes.length) return;
  part("axis-show").hidden = true;

  let request = new AbortController();
  let pause; // a timer

  function fields() {
    const found = new URLSearchParams(new FormData(form));
    for (const name of [...found.keys()]) {
      const values = found.getAll(name).filter(Boolean);
      found.delete(name);
      values.forEach((value) => found.append(name, value));
    }
    return found;
  }

  const signed = (number) => (number < 0 ? "" : "+") + number.toFixed(3);

  function draw({ slider, line, sides }) {
    const [least, most] = [Number(slider.min), Number(slider.max)];
    const value = Number(slider.value);
    const [start, end] = [Number(line.dataset.start), Number(line.dataset.end)];
    const place = start + ((value - least) / (most - least || 1)) * (end - start);
    sides.forEach((side) => line.setAttribute(side, place));
    slider.nextElementSibling.textContent = signed(value);
  }

  async function show() {
    request.abort();
    const current = (request = new AbortController());
    const asked = fields();
    history.replaceState(null, "", `?${asked}`);
    try {
      const response = await fetch(`${form.dataset.json}?${asked}`, { signal: current.signal });
      const body = await response.json();
      if (current.signal.aborted) return;
      if (!body.ok) throw new Error(body.error);
      list.replaceChildren(...body.near.map(item));
      status.textContent = "";
    } catch (error) {
      if (current.signal.aborted) return;
      list.replaceChildren();
      status.textContent = `No answer: ${error.message}`;
    }
  }

  function item(each) {
    const row = document.createElement("li");
    const place = document.createElement("span");
    place.className = "embeddings-axis-position";
    const places = [each.position, each.position2].filter((number) => number !== null);
    place.textContent = places.map(signed).join(", ");
    const title = document.createElement("bdi");
    title.textContent = (each.title || each.id).slice(0, 200);
    const path = each.url || each.image_url;
    const link = document.createElement(path ? "a" : "span");
    if (path) link.href = path;
    if (each.image_url) link.append(thumbnail(each.image_url), " ");
    link.append(title);
    row.append(place, " ", link);
    return row;
  }

  function thumbnail(path) {
    const box = document.createElement("span");
    box.className = "embeddings-thumbnail";
    const image = document.createElement("img");
    image.src = path;
    image.alt = "Image:";
    box.append(image);
    return box;
  }

  function moved() {
    axes.forEach(draw);
    clearTimeout(pause);
    pause = setTimeout(show, PAUSE_MS);
  }

  axes.forEach(({ slider }) => slider.addEventListener("input", moved));
  picture.addEventListener("click", (event) => {
    const box = picture.getBoundingClientRect();
    const view = picture.viewBox.baseVal;
    const at = [
      ((event.clientX - box.left) / box.width) * view.width,
      ((event.clientY - box.top) / box.height) * view.height,
    ];
    axes.forEach(({ slider, line }, number) => {
      const [start, end] = [Number(line.dataset.start), Number(line.dataset.end)];
      const [least, most] = [Number(slider.min), Number(slider.max)];
      slider.value = least + ((at[number] - start) / (end - start)) * (most - least);
    });
    moved();
  });
})();
