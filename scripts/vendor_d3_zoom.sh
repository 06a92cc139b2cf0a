#!/bin/sh
# Writes static/vendor/d3-zoom.js and its licences, from the packages of npm.
# Needs npm. A newer version is a change of its own: change it here and run this again.
set -eu
target=$(cd "$(dirname "$0")/.." && pwd)/static/vendor
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
packages="d3-color@3.1.1 d3-dispatch@3.0.2 d3-drag@3.0.1 d3-ease@3.0.2 d3-interpolate@3.0.2
 d3-selection@3.0.1 d3-timer@3.0.2 d3-transition@3.0.2 d3-zoom@3.0.1"
npm init --yes >/dev/null
# shellcheck disable=SC2086
npm install --save-exact --ignore-scripts --no-audit --no-fund $packages esbuild@0.28.2 >/dev/null
cat >entry.js <<'END'
export { zoom, zoomIdentity } from "d3-zoom";
export { select } from "d3-selection";
END
node_modules/.bin/esbuild entry.js --bundle --minify --format=esm --log-level=warning \
  --legal-comments=none --banner:js="/* d3-zoom 3.0.1, see d3-zoom.LICENSE.txt */" \
  --outfile="$target/d3-zoom.js"
for package in $packages; do
  printf '%s\n\n' "$package"
  cat "node_modules/${package%@*}/LICENSE"
  printf '\n\n'
done >"$target/d3-zoom.LICENSE.txt"
