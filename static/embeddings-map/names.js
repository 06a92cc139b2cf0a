// The names of the clusters on the map, where there is room for them.

const MOST_NAMES = 40;
const GAP = 4; // CSS pixels between two names
const ABOVE = 5; // CSS pixels between a name and the middle of its cluster, which it does not hide
const LENGTH = 24; // characters; the words of a name that do not fit are left out

export class Names {
  constructor(layer) {
    this.layer = layer;
    this.names = [];
  }

  // *clusters* have a name and a place {x, y}, the largest first
  set(clusters) {
    this.names = clusters.map(({ name, x, y }) => {
      const element = document.createElement("bdi");
      element.textContent = brief(name);
      element.hidden = true;
      return { element, x, y, width: 0, height: 0 };
    });
    this.layer.replaceChildren(...this.names.map(({ element }) => element));
    for (const each of this.names) each.element.hidden = false;
    for (const each of this.names) {
      each.width = each.element.offsetWidth;
      each.height = each.element.offsetHeight;
    }
    for (const each of this.names) each.element.hidden = true;
  }

  // Show those of clusters in view that do not overlap a larger cluster's name
  place(view, areDim) {
    const { width, height } = view;
    this.layer.classList.toggle("embeddings-dim", areDim);
    const boxes = [];
    for (const each of this.names) {
      const [x, y] = view.toScreen(each.x, each.y);
      const isInside = x >= 0 && x <= width && y >= 0 && y <= height;
      const left = within(x - each.width / 2 - GAP, width - each.width - 2 * GAP);
      const top = within(y - each.height - ABOVE - GAP, height - each.height - 2 * GAP);
      const box = {
        ...{ left, top },
        right: left + each.width + 2 * GAP,
        bottom: top + each.height + 2 * GAP,
      };
      const isShown =
        boxes.length < MOST_NAMES && isInside && !boxes.some((other) => overlap(box, other));
      each.element.hidden = !isShown;
      if (!isShown) continue;
      boxes.push(box);
      each.element.style.transform = `translate(${box.left + GAP}px, ${box.top + GAP}px)`;
    }
  }
}

// The first words of "typing, configparser, inspect", each of them whole
function brief(name) {
  const words = name.split(", ");
  while (words.length > 1 && words.join(", ").length > LENGTH) words.pop();
  return words.join(", ");
}

function within(number, most) {
  return Math.max(0, Math.min(number, most));
}

function overlap(a, b) {
  return a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
}
