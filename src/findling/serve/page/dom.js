// Small DOM helpers. Data only ever becomes text nodes: nothing here parses HTML.

const SVG = "http://www.w3.org/2000/svg";

/** An element with attributes, listeners (`onclick: f`) and children (nodes or text; null is left out). */
export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same for an SVG element. */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

/**
 * Text with <mark> around the given [start, end) ranges, as a fragment.
 * Offsets count code points, as the service's do, while a JavaScript string counts UTF-16 units.
 */
export function marked(text, ranges = []) {
  const points = Array.from(text);
  const fragment = document.createDocumentFragment();
  let at = 0;
  for (const [start, end] of tidy(ranges, points.length)) {
    if (start < at) continue;
    if (start > at) fragment.append(points.slice(at, start).join(""));
    fragment.append(el("mark", {}, points.slice(start, end).join("")));
    at = end;
  }
  if (at < points.length) fragment.append(points.slice(at).join(""));
  return fragment;
}

/** The usable ranges, in order: whole numbers inside the text, none of them empty. */
export function tidy(ranges, length) {
  if (!Array.isArray(ranges)) return [];
  return ranges
    .filter((range) => Array.isArray(range) && range.length === 2 && range.every(Number.isInteger))
    .map(([start, end]) => [Math.max(0, start), Math.min(length, end)])
    .filter(([start, end]) => start < end)
    .sort((a, b) => a[0] - b[0]);
}

/** A long text cut to begin near its first mark, so that a match far down is seen: [text, ranges]. */
export function excerpt(text, ranges = [], lead = 110) {
  const points = Array.from(text);
  const good = tidy(ranges, points.length);
  if (good.length === 0 || good[0][0] <= lead) return [text, good];
  let start = good[0][0] - Math.floor(lead / 2);
  while (start > 0 && points[start - 1].trim() !== "") start -= 1;
  const shift = start - 1;
  return ["…" + points.slice(start).join(""), good.map(([from, to]) => [from - shift, to - shift])];
}

/** Whether a click means "here", not "in a new tab" or "download". */
export function isPlainClick(event) {
  return event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;
}
