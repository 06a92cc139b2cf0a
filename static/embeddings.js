// Answers while somebody types: the page of each search is fetched, and what is new in it
// is put in place of ours. Without this script the form does the same, but for a picture:
// that is no part of an address, so it is posted to the page that has all the rest in its.
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
  const SMALL_BYTES = 200_000; // a picture of more is made smaller before it is sent
  const SMALL_SIDE = 512; // pixels; no model of today looks at more

  const part = (name) => document.getElementById(`embeddings-${name}`);
  const form = part("form");
  const box = part("q");
  const status = part("status");
  const answer = part("answer");
  const asking = part("picture"); // where there are pictures to find

  let shown = location.href.split("#")[0]; // or on its way
  let request = new AbortController();
  let pause, again; // timers
  let lastKey = -Infinity;
  let isNewEntry = true; // of the history; a burst of typing makes one
  let picture = null; // what is asked: { body, preview }
  const pictures = new Map(); // those of the history, by the address of their preview
  let chosen = null; // the file that is being read

  function address() {
    // form.action may be a filter by a column of that name
    const url = new URL(form.getAttribute("action"), location.href);
    const isAsked = picture || box.value.trim();
    for (const [name, value] of new FormData(form)) {
      const isEmpty =
        (name === "q" && !value.trim()) || (OPTIONAL.includes(name) && !value);
      if (name === "_like") {
        if (!isAsked) url.searchParams.append("like", value);
      } else if (!isEmpty && !name.startsWith("_filter_")) {
        // An unfinished filter is for the button
        url.searchParams.append(name, value);
      }
    }
    return url.href;
  }

  function type() {
    const url = address();
    if (url === shown) return;
    if (box.value.trim()) ask(null);
    if (isNewEntry) push(url);
    else history.replaceState(null, "", url);
    isNewEntry = false;
    show(url);
  }

  function push(url) {
    history.pushState(picture && { picture: picture.preview }, "", url);
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
    const response = await fetch(url, { signal, ...posted() });
    const text = await response.text();
    const page = new DOMParser().parseFromString(text, "text/html");
    if (page.getElementById("embeddings-answer")) return page;
    throw new Error(`the server said ${response.status} ${response.statusText}`);
  }

  function posted() {
    if (!picture) return {};
    const headers = { "Content-Type": "application/json" };
    return { method: "POST", headers, body: picture.body };
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
    ours.querySelectorAll(".embeddings-thumbnail img").forEach(check);
  }

  function say(text, className = "") {
    const line = document.createElement("p");
    line.className = className;
    line.textContent = text;
    status.replaceChildren(line);
  }

  function isLoading(page) {
    return page.querySelector("#embeddings-status [data-reload-after]");
  }

  function comeAgain() {
    const loading = isLoading(document);
    if (loading) again = setTimeout(() => show(shown), loading.dataset.reloadAfter * 1000);
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
    const isNewFilter = new FormData(form).get("_filter_column");
    if (isNewFilter && !picture) return;
    event.preventDefault();
    if (box.value.trim()) ask(null);
    if (isNewFilter) narrow();
    else go(address());
  });

  function go(url, options) {
    if (url !== shown) push(url);
    show(url, options);
  }

  // The server knows the address of a filter; a picture would be lost on the way there
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
    const before = picture;
    ask(pictures.get(event.state?.picture) || null);
    if (url === shown && picture === before) return; // only what is behind # has changed
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

  // A picture: chosen, dropped or pasted

  async function choose(file) {
    chosen = file;
    request.abort();
    clearTimeout(pause);
    const url = await addressOfData(file.size > SMALL_BYTES ? await smaller(file) : file);
    if (chosen !== file) return; // another one since
    const body = JSON.stringify({ image: url });
    const limit = Number(asking.dataset.maxBytes);
    if (body.length > limit) {
      const megabytes = ((limit * 3) / 4e6).toFixed(1); // base64 is a third longer
      throw new Error(
        `it is too large. This server takes ${megabytes} MB, and this browser cannot ` +
          "make it smaller",
      );
    }
    box.value = "";
    ask({ body, preview: URL.createObjectURL(file) });
    pictures.set(picture.preview, picture);
    isNewEntry = true;
    push(address());
    show(address());
  }

  // What the browser cannot draw goes as it is: the server says what is wrong with it
  async function smaller(file) {
    try {
      const image = await createImageBitmap(file);
      const scale = Math.min(1, SMALL_SIDE / Math.max(image.width, image.height));
      const canvas = document.createElement("canvas");
      canvas.width = Math.max(1, Math.round(image.width * scale));
      canvas.height = Math.max(1, Math.round(image.height * scale));
      const context = canvas.getContext("2d");
      context.fillStyle = "#fff"; // behind what is transparent
      context.fillRect(0, 0, canvas.width, canvas.height);
      context.drawImage(image, 0, 0, canvas.width, canvas.height);
      const made = await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.9));
      return made || file;
    } catch {
      return file;
    }
  }

  function addressOfData(file) {
    return new Promise((done, failed) => {
      const reader = new FileReader();
      reader.onload = () => done(reader.result);
      reader.onerror = () => failed(reader.error);
      reader.readAsDataURL(file);
    });
  }

  function ask(asked) {
    picture = asked;
    if (!asking) return;
    const preview = part("asked");
    preview.hidden = !picture;
    if (picture) preview.querySelector("img").src = picture.preview;
    else part("file").value = "";
  }

  // What cannot be shown, as a TIFF in most browsers, has a link beside it all the same
  function check(image) {
    const isBroken = () => image.complete && !image.naturalWidth;
    const tell = () => image.parentElement.classList.toggle("embeddings-broken", isBroken());
    image.addEventListener("error", tell);
    image.addEventListener("load", tell);
    if (isBroken()) tell();
  }

  function takePicture(files, event) {
    if (!files?.length) return;
    event.preventDefault();
    choose(files[0]).catch((error) => {
      ask(null);
      answer.replaceChildren();
      answer.removeAttribute("aria-busy");
      say(`The image cannot be sent: ${error.message}.`, "message-error");
    });
  }

  if (asking) {
    asking.hidden = false;
    part("file").addEventListener("change", (event) => takePicture(event.target.files, event));
    part("forget").addEventListener("click", () => {
      ask(null);
      push(address());
      show(address());
      part("file").focus();
    });
    // The whole page: a picture that misses the box would take its place
    document.addEventListener("dragover", (event) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      asking.classList.add("embeddings-dragging");
    });
    document.addEventListener("dragleave", (event) => {
      if (!event.relatedTarget) asking.classList.remove("embeddings-dragging");
    });
    document.addEventListener("drop", (event) => {
      asking.classList.remove("embeddings-dragging");
      takePicture(event.dataTransfer?.files, event);
    });
    document.addEventListener("paste", (event) => {
      takePicture(event.clipboardData?.files, event);
    });
    // Links to the same question with other conditions, or to its other pages
    answer.addEventListener("click", (event) => {
      const link = event.target.closest("a[href]");
      const isPlain = !(event.metaKey || event.ctrlKey || event.shiftKey || event.altKey);
      if (!picture || !link || !isPlain || event.button) return;
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
