// Answers while somebody types: the page of each search is fetched, and what is new in it
// is put in place of ours. Without this script the form does the same.
(() => {
  "use strict";

  const PAUSE_MS = 250; // after the last key
  // An input method composes: a Japanese word is unfinished, but most phones compose every
  // word there is, and whoever rests wants to see something
  const COMPOSING_PAUSE_MS = 1000;
  const PATIENCE_MS = 400; // before we say that it takes a while
  const READING_MS = 3000; // who types again after that has read an answer to go back to
  // The fields that the URL does without when they are empty; an empty filter is one
  const OPTIONAL = ["_min_score", "_prefix", "_facet"];

  const part = (name) => document.getElementById(`embeddings-${name}`);
  const form = part("form");
  const box = part("q");
  const status = part("status");
  const answer = part("answer");

  let shown = location.href.split("#")[0]; // or on its way
  let request = new AbortController();
  let pause, again; // timers
  let lastKey = -Infinity;
  let isNewEntry = true; // of the history; a burst of typing makes one

  function address() {
    // form.action may be a filter by a column of that name
    const url = new URL(form.getAttribute("action"), location.href);
    for (const [name, value] of new FormData(form)) {
      const isEmpty =
        (name === "q" && !value.trim()) || (OPTIONAL.includes(name) && !value);
      // An unfinished filter is for the button
      if (!isEmpty && !name.startsWith("_filter_")) url.searchParams.append(name, value);
    }
    return url.href;
  }

  function type() {
    const url = address();
    if (url === shown) return;
    if (isNewEntry) history.pushState(null, "", url);
    else history.replaceState(null, "", url);
    isNewEntry = false;
    show(url);
  }

  async function show(url, { withConditions = false } = {}) {
    request.abort();
    clearTimeout(again);
    const mine = (request = new AbortController());
    shown = url;
    answer.setAttribute("aria-busy", "true");
    const late = setTimeout(() => {
      if (!isLoading(document)) say("Searching …");
    }, PATIENCE_MS);
    try {
      const page = await fetched(url, mine.signal);
      if (mine.signal.aborted) return;
      document.title = page.title;
      if (withConditions) replace("conditions", page);
      // The same sentence again would be read out again
      if (!isLoading(page) || !isLoading(document)) replace("status", page);
      replace("answer", page);
      comeAgain();
    } catch (error) {
      if (mine.signal.aborted) return;
      answer.replaceChildren();
      say(`No answer: ${error.message}. Press Enter to try again.`, "message-error");
    } finally {
      clearTimeout(late);
      if (!mine.signal.aborted) answer.removeAttribute("aria-busy");
    }
  }

  async function fetched(url, signal) {
    const response = await fetch(url, { signal });
    const text = await response.text();
    const page = new DOMParser().parseFromString(text, "text/html");
    if (page.getElementById("embeddings-answer")) return page;
    throw new Error(`the server said ${response.status} ${response.statusText}`);
  }

  function replace(name, page) {
    const ours = part(name);
    const focused = ours.contains(document.activeElement) && document.activeElement;
    const wereOpen = [...ours.querySelectorAll("details[open]")].map((each) => each.className);
    ours.replaceChildren(...page.getElementById(ours.id).childNodes);
    for (const each of ours.querySelectorAll("details")) {
      if (wereOpen.includes(each.className)) each.open = true;
    }
    if (focused) (document.getElementById(focused.id) || ours).focus();
  }

  function say(text, className = "") {
    const line = document.createElement("p");
    line.className = className;
    line.textContent = text;
    status.replaceChildren(line);
  }

  function isLoading(page) {
    return page.querySelector("#embeddings-status [data-come-again]");
  }

  function comeAgain() {
    const loading = isLoading(document);
    if (loading) again = setTimeout(() => show(shown), loading.dataset.comeAgain * 1000);
  }

  function typed(event) {
    const now = performance.now();
    if (now - lastKey > READING_MS) isNewEntry = true;
    lastKey = now;
    clearTimeout(pause);
    pause = setTimeout(type, event.isComposing ? COMPOSING_PAUSE_MS : PAUSE_MS);
  }

  box.addEventListener("input", typed);
  box.addEventListener("compositionend", typed);

  form.addEventListener("submit", (event) => {
    clearTimeout(pause);
    isNewEntry = true;
    // A new filter needs the fields of its page
    if (new FormData(form).get("_filter_column")) return;
    event.preventDefault();
    const url = address();
    if (url !== shown) history.pushState(null, "", url);
    show(url);
  });

  window.addEventListener("popstate", () => {
    const url = location.href.split("#")[0];
    if (url === shown) return; // only what is behind # has changed
    clearTimeout(pause);
    isNewEntry = true;
    box.value = new URL(url).searchParams.get("q") || "";
    show(url, { withConditions: true });
  });

  // A page that is left in the middle of a search, and kept by the browser, goes on with it
  window.addEventListener("pagehide", () => request.abort());
  window.addEventListener("pageshow", (event) => {
    if (event.persisted && answer.hasAttribute("aria-busy")) show(shown);
  });

  // Datasette 0.65 takes every <details> for a menu, and closes it at a click elsewhere
  let open = [];
  const remember = () => {
    open = [...document.querySelectorAll("details[class^=embeddings][open]")];
  };
  const restore = () => open.forEach((each) => (each.open = true));
  window.addEventListener("click", remember, { capture: true });
  window.addEventListener("click", restore);

  comeAgain();
})();
