// Shows results while the user types: it fetches the page of each search and takes its
// contents. Without this script the form does the same. An image cannot be part of a URL,
// so the script posts it to the page whose URL has the rest of the search.
(() => {
  "use strict";

  const PAUSE_MS = 250; // after the last key
  // A word that an input method composes may be unfinished, but most phones compose every
  // word: after a longer pause the page searches for what is there
  const COMPOSING_PAUSE_MS = 1000;
  const PATIENCE_MS = 400; // before the page says that it is searching
  const QUIET_MS = 1000; // after the last key, before a screen reader reads the status out
  const READING_MS = 3000; // typing after such a pause makes a new entry of the history
  // Fields that are left out of the URL when they are empty
  const OPTIONAL = ["_mode", "_min_score", "_min_cosine", "_prefix", "_facet", "_sort"];
  const SMALL_BYTES = 200_000; // a larger image is reduced before it is sent
  const SMALL_SIDE = 512; // pixels; models read fewer

  const part = (name) => document.getElementById(`embeddings-${name}`);
  const form = part("form");
  const box = part("q");
  const status = part("status");
  const answer = part("answer");
  const imageField = part("image"); // null if the collection has no images

  let shown = location.href.split("#")[0]; // the URL of the results, or of those to come
  let request = new AbortController();
  let pause; // a timer
  let quiet; // another
  let lastKey = -Infinity;
  let isNewEntry = true; // of the history
  let image = null; // that the page searches for: { body, preview }
  const images = new Map(); // of the history, by the URL of their preview
  let chosen = null; // the file that is being read

  function searchUrl() {
    // form.action may be the field of a filter on a column called action
    const url = new URL(form.getAttribute("action"), location.href);
    const hasQuery = image || box.value.trim();
    const fields = new FormData(form);
    const sort = fields.get("_sort_by_desc") ? "_sort_desc" : "_sort";
    for (const [name, value] of fields) {
      const isEmpty =
        (name === "q" && !value.trim()) || (OPTIONAL.includes(name) && !value);
      if (name === "_like") {
        if (!hasQuery) url.searchParams.append("like", value);
      } else if (!isEmpty && !/^_(filter_|sort_by_desc)/.test(name)) {
        // A new filter is sent by the button
        url.searchParams.append(name === "_sort" ? sort : name, value);
      }
    }
    return url.href;
  }

  function type() {
    const url = searchUrl();
    if (url === shown) return;
    if (box.value.trim()) searchBy(null);
    if (isNewEntry) push(url);
    else history.replaceState(null, "", url);
    isNewEntry = false;
    show(url, { isTyping: true });
  }

  function push(url) {
    history.pushState(image && { image: image.preview }, "", url);
  }

  async function show(url, { withConditions = false, isTyping = false } = {}) {
    request.abort();
    const current = (request = new AbortController());
    shown = url;
    answer.setAttribute("aria-busy", "true");
    const late = setTimeout(() => say("Searching …"), PATIENCE_MS);
    try {
      const page = await fetchPage(url, current.signal, isTyping);
      if (current.signal.aborted) return;
      document.title = page.title;
      if (withConditions) replace("conditions", page);
      replace("status", page);
      replace("answer", page);
    } catch (error) {
      if (current.signal.aborted) return;
      answer.replaceChildren();
      say(`No answer: ${error.message}. Press Enter to try again.`, "message-error");
    } finally {
      clearTimeout(late);
      if (!current.signal.aborted) answer.removeAttribute("aria-busy");
    }
  }

  // While the user types, the last word may be unfinished; no URL to share says so
  async function fetchPage(url, signal, isTyping) {
    const asked = new URL(url);
    if (isTyping) asked.searchParams.append("_typing", "1");
    const response = await fetch(asked, { signal, ...postOptions() });
    const text = await response.text();
    const page = new DOMParser().parseFromString(text, "text/html");
    if (page.getElementById("embeddings-answer")) return page;
    throw new Error(`the server answered ${response.status} ${response.statusText}`);
  }

  function postOptions() {
    if (!image) return {};
    const headers = { "Content-Type": "application/json" };
    return { method: "POST", headers, body: image.body };
  }

  function replace(name, page) {
    const target = part(name);
    const focused = target.contains(document.activeElement) && document.activeElement;
    // Not the numbers of a result: another one takes its place
    const kinds = "details:not(.embeddings-score)";
    const wereOpen = [...target.querySelectorAll(`${kinds}[open]`)].map((each) => each.className);
    target.replaceChildren(...page.getElementById(target.id).childNodes);
    for (const each of target.querySelectorAll(kinds)) {
      if (wereOpen.includes(each.className)) each.open = true;
    }
    if (focused) (document.getElementById(focused.id) || target).focus();
    target.querySelectorAll(".embeddings-thumbnail img").forEach(check);
  }

  function say(text, className = "") {
    const line = document.createElement("p");
    line.className = className;
    line.textContent = text;
    status.replaceChildren(line);
  }

  function typed(event) {
    const now = performance.now();
    if (now - lastKey > READING_MS) isNewEntry = true;
    lastKey = now;
    clearTimeout(pause);
    pause = setTimeout(type, event.isComposing ? COMPOSING_PAUSE_MS : PAUSE_MS);
    // A screen reader waits with what changes until this is over
    status.setAttribute("aria-busy", "true");
    clearTimeout(quiet);
    quiet = setTimeout(() => status.removeAttribute("aria-busy"), QUIET_MS);
  }

  box.addEventListener("input", typed);
  box.addEventListener("compositionend", typed);

  form.addEventListener("submit", (event) => {
    clearTimeout(pause);
    isNewEntry = true;
    // The page of a new filter has other fields
    const isNewFilter = new FormData(form).get("_filter_column");
    if (isNewFilter && !image) return;
    event.preventDefault();
    if (box.value.trim()) searchBy(null);
    if (isNewFilter) narrow();
    else go(searchUrl());
  });

  function go(url, options) {
    if (url !== shown) push(url);
    show(url, options);
  }

  // The server makes the URL of a filter; a redirect would lose the image
  async function narrow() {
    const url = new URL(form.getAttribute("action"), location.href);
    const fields = new URLSearchParams(new FormData(form));
    fields.delete("_like");
    url.search = fields;
    try {
      go((await fetch(url)).url, { withConditions: true });
    } catch (error) {
      say(`No answer: ${error.message}. Press Enter to try again.`, "message-error");
    }
  }

  window.addEventListener("popstate", (event) => {
    const url = location.href.split("#")[0];
    const before = image;
    searchBy(images.get(event.state?.image) || null);
    if (url === shown && image === before) return; // only the part after # has changed
    clearTimeout(pause);
    isNewEntry = true;
    box.value = new URL(url).searchParams.get("q") || "";
    show(url, { withConditions: true });
  });

  // A page left during a search, and kept by the browser, searches again
  window.addEventListener("pagehide", () => request.abort());
  window.addEventListener("pageshow", (event) => {
    if (event.persisted && answer.hasAttribute("aria-busy")) show(shown);
  });

  // Search by image: chosen, dropped or pasted

  async function choose(file) {
    chosen = file;
    request.abort();
    clearTimeout(pause);
    const url = await dataUrl(file.size > SMALL_BYTES ? await smaller(file) : file);
    if (chosen !== file) return; // the user chose another one
    const body = JSON.stringify({ image: url });
    const limit = Number(imageField.dataset.maxBytes);
    if (body.length > limit) {
      const megabytes = ((limit * 3) / 4e6).toFixed(1); // base64 is a third longer
      throw new Error(
        `it is too large. This server takes ${megabytes} MB, and this browser cannot ` +
          "make it smaller",
      );
    }
    box.value = "";
    searchBy({ body, preview: URL.createObjectURL(file) });
    images.set(image.preview, image);
    isNewEntry = true;
    push(searchUrl());
    show(searchUrl());
  }

  // A file that the browser cannot draw is sent as it is; the server reports the fault
  async function smaller(file) {
    try {
      const bitmap = await createImageBitmap(file);
      const scale = Math.min(1, SMALL_SIDE / Math.max(bitmap.width, bitmap.height));
      const canvas = document.createElement("canvas");
      canvas.width = Math.max(1, Math.round(bitmap.width * scale));
      canvas.height = Math.max(1, Math.round(bitmap.height * scale));
      const context = canvas.getContext("2d");
      context.fillStyle = "#fff"; // behind transparent parts
      context.fillRect(0, 0, canvas.width, canvas.height);
      context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
      const made = await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.9));
      return made || file;
    } catch {
      return file;
    }
  }

  function dataUrl(file) {
    return new Promise((done, failed) => {
      const reader = new FileReader();
      reader.onload = () => done(reader.result);
      reader.onerror = () => failed(reader.error);
      reader.readAsDataURL(file);
    });
  }

  function searchBy(next) {
    image = next;
    if (!imageField) return;
    const preview = part("asked");
    preview.hidden = !image;
    if (image) preview.querySelector("img").src = image.preview;
    else part("file").value = "";
  }

  // An image that the browser cannot show, such as a TIFF, still has its link
  function check(img) {
    const isBroken = () => img.complete && !img.naturalWidth;
    const mark = () => img.parentElement.classList.toggle("embeddings-broken", isBroken());
    img.addEventListener("error", mark);
    img.addEventListener("load", mark);
    if (isBroken()) mark();
  }

  function takeImage(files, event) {
    if (!files?.length) return;
    event.preventDefault();
    choose(files[0]).catch((error) => {
      searchBy(null);
      answer.replaceChildren();
      answer.removeAttribute("aria-busy");
      say(`The image cannot be sent: ${error.message}.`, "message-error");
    });
  }

  if (imageField) {
    imageField.hidden = false;
    part("file").addEventListener("change", (event) => takeImage(event.target.files, event));
    part("forget").addEventListener("click", () => {
      searchBy(null);
      push(searchUrl());
      show(searchUrl());
      part("file").focus();
    });
    // On the whole page: a browser opens an image that is dropped elsewhere
    document.addEventListener("dragover", (event) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      imageField.classList.add("embeddings-dragging");
    });
    document.addEventListener("dragleave", (event) => {
      if (!event.relatedTarget) imageField.classList.remove("embeddings-dragging");
    });
    document.addEventListener("drop", (event) => {
      imageField.classList.remove("embeddings-dragging");
      takeImage(event.dataTransfer?.files, event);
    });
    document.addEventListener("paste", (event) => {
      takeImage(event.clipboardData?.files, event);
    });
    // Links to other conditions and pages of the same search keep the image
    answer.addEventListener("click", (event) => {
      const link = event.target.closest("a[href]");
      const isPlain = !(event.metaKey || event.ctrlKey || event.shiftKey || event.altKey);
      if (!image || !link || !isPlain || event.button) return;
      const url = new URL(link.href);
      const here = new URL(form.getAttribute("action"), location.href);
      if (url.origin + url.pathname !== here.origin + here.pathname) return;
      if (url.searchParams.has("like")) return;
      event.preventDefault();
      go(url.href, { withConditions: true });
      scrollTo({ top: status.offsetTop });
    });
  }
  document.querySelectorAll(".embeddings-thumbnail img").forEach(check);

  // Datasette 0.65 closes every <details> at a click elsewhere, as if it were a menu
  let open = [];
  const remember = () => {
    open = [...document.querySelectorAll("details[class^=embeddings][open]")];
  };
  const restore = () => open.forEach((each) => (each.open = true));
  window.addEventListener("click", remember, { capture: true });
  window.addEventListener("click", restore);
})();
