"""The map page in headless Chromium without a graphics card: frames, bytes, times.

    python benchmarks/map_page.py [--documents 100000 1000000] [--chromium PATH]

It makes a database with as many points around 40 places, serves it with Datasette and
looks at the map in a window in which the map is 1200 x 800 pixels. Beside it stands a
page that draws the same points with WebGL2 and nothing else, which is less than any
library of WebGL does: regl-scatterplot, deck.gl, three and OpenLayers took longer.

On two cores with other work beside (load 9), 100,000 documents: first points after
1.1 s; 40 frames/s and 18 ms of processor time a frame, WebGL2 alone 5 and 188 ms.
1,000,000 documents: first points after 0.9 s, 235 kB for the first view, 59 frames/s.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
from playwright.sync_api import sync_playwright

from datasette_embeddings.documents import Document
from datasette_embeddings.maps.tiles import assign_tiles
from datasette_embeddings.store.collection_writes import create_collection
from datasette_embeddings.store.coordinates import Coordinates
from datasette_embeddings.store.documents import write_embeddings
from datasette_embeddings.store.map_facts import MapFacts
from datasette_embeddings.store.schema import transaction

WIDTH, HEIGHT = 1200, 800
PLACES = 40
SECONDS = 5
ARGUMENTS = ["--no-sandbox", "--disable-background-networking"]
# Without a graphics card: the page's own canvas, and WebGL as Chromium emulates it
PLAIN, EMULATED = ["--disable-gpu"], ["--enable-unsafe-swiftshader"]
EMULATED = [*EMULATED, "--use-angle=swiftshader", "--ignore-gpu-blocklist"]
DRAG = """async ([selector, seconds]) => {
  const target = document.querySelector(selector);
  const { left, top, width, height } = target.getBoundingClientRect();
  const [x, y] = [left + width / 2, top + height / 2];
  const send = (type, clientX, clientY, to) => to.dispatchEvent(new MouseEvent(type, {
    ...{ bubbles: true, cancelable: true, view: window, buttons: 1, clientX, clientY },
  }));
  send("mousedown", x, y, target);
  const start = performance.now();
  let frames = 0;
  await new Promise((done) => {
    const next = () => {
      if (performance.now() - start > 1000 * seconds) return done();
      frames += 1;
      const [right, down] = [100 * Math.sin(frames / 15), 60 * Math.cos(frames / 15)];
      send("mousemove", x + right, y + down, window);
      requestAnimationFrame(next);
    };
    requestAnimationFrame(next);
  });
  send("mouseup", x, y, window);
  return (1000 * frames) / (performance.now() - start);
}"""
WEBGL = """<!doctype html><body style="margin:0"><canvas width=1200 height=800></canvas>
<script>
const canvas = document.querySelector("canvas");
const gl = canvas.getContext("webgl2", { antialias: false, alpha: false });
const program = gl.createProgram();
for (const [kind, text] of [
  [gl.VERTEX_SHADER, `#version 300 es
    in vec2 place; uniform vec2 moved;
    void main() { gl_Position = vec4(place + moved, 0, 1); gl_PointSize = 3.0; }`],
  [gl.FRAGMENT_SHADER, `#version 300 es
    precision mediump float; out vec4 color;
    void main() {
      vec2 from = gl_PointCoord - 0.5;
      if (dot(from, from) > 0.25) discard;
      color = vec4(0.26, 0.47, 0.82, 0.85);
    }`],
]) {
  const shader = gl.createShader(kind);
  gl.shaderSource(shader, text);
  gl.compileShader(shader);
  gl.attachShader(program, shader);
}
gl.linkProgram(program);
gl.useProgram(program);
gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
const places = new Float32Array(2 * COUNT);
const around = () => Math.random() + Math.random() + Math.random() - 1.5;
for (let i = 0; i < 2 * COUNT; i += 2) {
  const k = (i / 2) % 40;
  places[i] = 0.7 * Math.cos(k) * ((k % 5) / 5) + 0.1 * around();
  places[i + 1] = 0.7 * Math.sin(k) * ((k % 5) / 5) + 0.1 * around();
}
gl.bufferData(gl.ARRAY_BUFFER, places, gl.STATIC_DRAW);
gl.enableVertexAttribArray(0);
gl.vertexAttribPointer(0, 2, gl.FLOAT, false, 0, 0);
gl.enable(gl.BLEND);
gl.blendFunc(gl.SRC_ALPHA, gl.ONE_MINUS_SRC_ALPHA);
const moved = gl.getUniformLocation(program, "moved");
addEventListener("mousemove", (event) => {
  gl.clearColor(1, 1, 1, 1);
  gl.clear(gl.COLOR_BUFFER_BIT);
  gl.uniform2f(moved, event.clientX / 600 - 1, 1 - event.clientY / 400);
  gl.drawArrays(gl.POINTS, 0, COUNT);
});
</script>"""


def make(path: Path, count: int) -> None:
    """A database with a map of *count* points, and few of the documents it is of."""
    random = np.random.default_rng(0)
    centers = random.normal(0, 4, (PLACES, 2))
    points = centers[random.integers(0, PLACES, count)]
    points = points + random.normal(0, 0.4, (count, 2))
    x, y = points.T
    conn = sqlite3.connect(path)
    collection = create_collection(conn, "points", "some-model", None)
    documents = [Document(str(number), f"Text {number}") for number in range(100)]
    vectors = random.normal(size=(100, 8)).astype(np.float32)
    coordinates = Coordinates(collection)
    coordinates.prepare()
    edges = [float(each) for each in (x.min(), x.max(), y.min(), y.max())]
    facts = MapFacts("pca", 0, count, 0, 1, *edges)
    ids = [str(number) for number in range(count)]
    tiles = assign_tiles(ids, x, y, facts.square).tolist()
    with transaction(conn):
        write_embeddings(collection, documents, vectors, store_content=True)
        rows = zip(ids, x.tolist(), y.tolist(), tiles, ["state"] * count, strict=True)
        coordinates.write(rows)
        coordinates.store_facts(facts, [1, 2])
    conn.close()


@contextmanager
def served(path: Path):
    """The URL of a Datasette with the database at *path*."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", "datasette", path, "--port", port]
    process = subprocess.Popen(
        list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}"
    while True:
        try:
            httpx.get(f"{url}/-/versions.json", timeout=60)
            break
        except httpx.TransportError:
            time.sleep(0.2)
    yield url
    process.terminate()
    process.wait()


def processor_seconds() -> float:
    """Of all processes of Chromium so far."""
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, rest = path.read_text().rsplit(")", 1)
        except OSError:
            continue
        if "(chrom" in name:
            ticks += sum(map(int, rest.split()[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def measure_drag(page, selector: str) -> str:
    """Frames a second while the map is dragged, and what a frame costs."""
    before = processor_seconds()
    frames = page.evaluate(DRAG, [selector, SECONDS])
    cost = 1000 * (processor_seconds() - before) / (frames * SECONDS)
    return f"{frames:5.1f} frames/s, {cost:4.0f} ms of processor time a frame"


def measure_page(launch, url: str, count: int) -> None:
    """Print what the map at *url* takes."""
    browser = launch(args=[*ARGUMENTS, *PLAIN])
    page = browser.new_page(viewport={"width": 1_560, "height": 1_200})
    sizes: list[int] = []
    devtools = page.context.new_cdp_session(page)
    devtools.send("Network.enable")
    devtools.on(
        "Network.loadingFinished",
        lambda event: sizes.append(int(event["encodedDataLength"])),
    )
    start = time.perf_counter()
    page.goto(f"{url}/points/-/embeddings/points/map", wait_until="commit")
    page.wait_for_function(
        "/\\d/.test(document.getElementById('embeddings-map-loaded')?.textContent)"
    )
    first = time.perf_counter() - start
    page.wait_for_load_state("networkidle")
    loaded = page.locator("#embeddings-map-loaded").inner_text()
    print(f"{count:9,} documents: first points after {first:.1f} s, ", end="")
    print(f"{sum(sizes) / 1000:.0f} kB until {loaded!r}")
    page.evaluate(
        "([width, height]) => Object.assign(document.getElementById("
        "'embeddings-map-frame').style, { width, height })",
        [f"{WIDTH}px", f"{HEIGHT}px"],
    )
    page.wait_for_timeout(1_000)
    print("          this page    ", measure_drag(page, "#embeddings-map-view"))
    browser.close()


def measure_webgl(launch, count: int) -> None:
    """Print what the same points take with WebGL2 alone."""
    browser = launch(args=[*ARGUMENTS, *EMULATED])
    page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
    page.set_content(WEBGL.replace("COUNT", str(count)))
    page.wait_for_timeout(1_000)
    print("          WebGL2 alone ", measure_drag(page, "canvas"))
    browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int, nargs="+", default=[100_000, 10**6])
    parser.add_argument("--chromium", default=shutil.which("chromium"))
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:

        def launch(**kwargs):
            path = options.chromium
            return playwright.chromium.launch(executable_path=path, **kwargs)

        for count in options.documents:
            path = Path(folder) / str(count) / "points.db"
            path.parent.mkdir()
            make(path, count)
            with served(path) as url:
                measure_page(launch, url, count)
            if count <= 100_000:
                measure_webgl(launch, count)


if __name__ == "__main__":
    main()
