// The parts of the page beside the map: the selected item, matches, colors, an area.

import { element, link, number, safe, title } from "./items.js";

export const part = (name) => document.getElementById(`embeddings-map-${name}`);

function fillPart(name, ...children) {
  const section = part(name);
  section.hidden = !children.length;
  section.replaceChildren(...children.filter(Boolean));
  return section;
}

function button(text, onclick, properties = {}) {
  return element("button", { type: "button", onclick, ...properties }, text);
}

function closing(name, close) {
  const made = button("✕", close, { className: "embeddings-close" });
  made.setAttribute("aria-label", name);
  return made;
}

// The selected item, or nothing for null
export function showItem(item, { cluster, clusterUrl, similar, close }) {
  if (!item) return fillPart("item");
  const image = safe(item.image_url);
  const facts = cluster && element("p", {}, "Cluster: ", link(clusterUrl, cluster.name));
  return fillPart(
    "item",
    element("h2", {}, link(item.url || item.image_url, title(item))),
    closing("Close", close),
    image && element("img", { src: image, alt: "", decoding: "async" }),
    item.snippet && element("p", {}, element("bdi", {}, item.snippet)),
    facts,
    element(
      "p",
      { className: "embeddings-map-actions" },
      button("Similar items", similar),
      link(item.like_url, "as a list"),
    ),
  );
}

// What a search found, each to be selected on the map; *found* is null for none
export function showMatches(found, { select, close, url }) {
  if (!found) return fillPart("matches");
  const { matches, label } = found;
  const items = matches.map((match) => {
    const name = element("bdi", {}, title(match));
    if (!match.place) return element("li", {}, link(match.url, title(match)), element("small", {}, "not on the map"));
    const made = button("", () => select(match));
    made.append(name);
    return element("li", {}, made);
  });
  const heading = matches.length
    ? `${number(matches.length)}${matches.length === 200 ? " best" : ""} ${matches.length === 1 ? "match" : "matches"}: `
    : "No matches: ";
  return fillPart(
    "matches",
    element("h2", {}, heading, element("bdi", {}, label)),
    element("p", { className: "embeddings-map-actions" }, button("Clear", close), link(url, "as a list")),
    element("ol", { className: "embeddings-map-list" }, ...items),
  );
}

// What the colors stand for; a button dims all points but those of one color
export function showLegend(legend, { only, toggle, clusterUrl }) {
  if (!legend) return fillPart("legend");
  const items = legend.values.map((each, index) => {
    const made = button("", () => toggle(index));
    made.append(element("bdi", {}, each.label));
    made.setAttribute("aria-pressed", String(only === index));
    const isCluster = legend.by === "cluster" && each.value !== null;
    const list = isCluster ? link(clusterUrl(each.value), "list") : null;
    list?.setAttribute("aria-label", `list: ${each.label}`);
    return element("li", {}, dot(each.color), made, element("small", {}, number(each.count)), list);
  });
  return fillPart(
    "legend",
    element("h2", {}, "Colors: ", element("bdi", {}, legend.by)),
    element("ul", { className: "embeddings-map-colors" }, ...items),
  );
}

function dot(color) {
  const names = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(names, "svg");
  svg.setAttribute("viewBox", "0 0 2 2");
  svg.setAttribute("aria-hidden", "true");
  const circle = document.createElementNS(names, "circle");
  for (const name of ["cx", "cy", "r"]) circle.setAttribute(name, 1);
  circle.setAttribute("fill", color);
  svg.append(circle);
  return svg;
}

// How many items the line of the user has in it, and where their list is
export function showArea(area, { close }) {
  if (!area) return fillPart("area");
  const { count, isAll, url } = area;
  const items = `${isAll ? "" : "at least "}${number(count)} ${count === 1 ? "item" : "items"}`;
  return fillPart(
    "area",
    element("h2", {}, `In this area: ${items}`),
    element("p", { className: "embeddings-map-actions" }, link(url, "Show them as a list"), button("Clear", close)),
  );
}

// A small note at the mouse; null hides it
export function showHint(item, [x, y], view) {
  const hint = part("hint");
  hint.hidden = !item;
  if (!item) return;
  const image = safe(item.image_url);
  hint.replaceChildren(
    image ? element("img", { src: image, alt: "", decoding: "async" }) : "",
    element("strong", {}, title(item)),
    item.snippet ? element("span", {}, item.snippet) : "",
  );
  const right = Math.min(x + 14, view.width - hint.offsetWidth - 4);
  const below = y + 16 + hint.offsetHeight < view.height ? y + 16 : y - 12 - hint.offsetHeight;
  hint.style.transform = `translate(${Math.max(4, right)}px, ${Math.max(4, below)}px)`;
}
