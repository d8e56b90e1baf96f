// A drawn cover for a book that has none: cloth, foil and a motif, all decided by a hash of the title.

import { svg } from "./dom.js";

const W = 120;
const H = 180;

// [cloth, foil, second]: each foil reads on its cloth.
const CLOTHS = [
  ["#22403a", "#e6d3a3", "#3d6a5d"], ["#5b2430", "#efd9b4", "#8a4150"], ["#27344f", "#e9d7a6", "#46608d"],
  ["#e4dccb", "#5a3324", "#b98b5e"], ["#2b2b2e", "#d8c89a", "#5a5750"], ["#7a4a1f", "#f6e5c3", "#a8713a"],
  ["#d9e0dc", "#23423f", "#7fa49a"], ["#43304f", "#ead6b8", "#70557f"], ["#c9b37e", "#2f2a1c", "#8f7a45"],
  ["#1f4a57", "#f0dcae", "#3f7a88"], ["#8c3a24", "#f5e2c4", "#b9654a"], ["#e7d5cf", "#5e2a36", "#bd8a86"],
  ["#39472a", "#ecdfb0", "#66784a"], ["#d3d7e3", "#2a3357", "#8690b5"],
];

/** FNV-1a over UTF-16 units: the same title gives the same cover everywhere. */
export function hash(text) {
  let value = 0x811c9dc5;
  for (let i = 0; i < text.length; i += 1) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193);
  return value >>> 0;
}

/** mulberry32: numbers in [0, 1) from a seed. */
function numbers(seed) {
  let a = seed;
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

const line = (d, stroke, width = 1) => svg("path", { d, stroke, "stroke-width": width, fill: "none", "stroke-linecap": "round" });
const disc = (cx, cy, r, paint, drawn = false) =>
  svg("circle", drawn ? { cx, cy, r, fill: "none", stroke: paint } : { cx, cy, r, fill: paint });

// Each motif draws into a square of side 96 from (12, top); `r` gives the next random number.
const MOTIFS = [
  function waves(top, r, foil, second) {
    const phase = r() * 6;
    return Array.from({ length: 7 }, (_, row) => {
      const y = top + 26 + row * 10;
      const swell = 3 + row * 0.7;
      const step = Array.from({ length: 13 }, (_, i) => `${12 + i * 8},${(y + Math.sin(i * 1.05 + phase + row) * swell).toFixed(1)}`);
      return line(`M${step.join("L")}`, row % 2 ? second : foil, 1.5);
    }).concat(disc(40 + r() * 40, top + 14, 8, foil));
  },
  function rings(top, r, foil, second) {
    const cx = 44 + r() * 32;
    return [46, 38, 30, 22, 14, 6].map((radius, i) => disc(cx, top + 48, radius, i % 2 ? second : foil, true)).concat(disc(cx, top + 48, 3, foil));
  },
  function hills(top, r, foil, second) {
    const ridge = (base, height) => {
      const points = Array.from({ length: 7 }, (_, i) => `L${12 + i * 16},${(top + base - r() * height).toFixed(1)}`);
      return `M12,${top + 96}${points.join("")}L108,${top + 96}Z`;
    };
    return [
      disc(36 + r() * 48, top + 24, 13, foil),
      svg("path", { d: ridge(62, 22), fill: second, opacity: 0.75 }),
      svg("path", { d: ridge(84, 16), fill: second }),
    ];
  },
  function stars(top, r, foil, second) {
    const at = Array.from({ length: 9 }, (_, i) => [18 + i * 10.5 + (r() - 0.5) * 9, top + 10 + r() * 76]);
    const path = at.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join("L");
    return [line(`M${path}`, second, 0.8), ...at.map(([x, y], i) => disc(x, y, i % 3 ? 1.8 : 3.2, foil))];
  },
  function branch(top, r, foil, second) {
    const lean = (r() - 0.5) * 24;
    const leaves = Array.from({ length: 8 }, (_, i) => {
      const y = top + 86 - i * 10;
      const x = 60 + (lean * i) / 8;
      const side = i % 2 ? 1 : -1;
      return svg("path", {
        d: `M${x},${y}q${side * 14},${-16} ${side * 30},${-10}q${-side * 8},${14} ${-side * 30},10`, fill: i % 3 ? foil : second,
      });
    });
    return [line(`M60,${top + 94}Q60,${top + 50} ${60 + lean},${top + 4}`, foil, 1.6), ...leaves];
  },
  function rays(top, r, foil, second) {
    const count = 16 + Math.floor(r() * 4) * 4;
    const spokes = Array.from({ length: count }, (_, i) => {
      const angle = (i / count) * Math.PI * 2;
      const far = i % 2 ? 34 : 46;
      const point = (d) => `${(60 + Math.cos(angle) * d).toFixed(1)},${(top + 48 + Math.sin(angle) * d).toFixed(1)}`;
      return line(`M${point(18)}L${point(far)}`, i % 2 ? second : foil, 1.4);
    });
    return [...spokes, disc(60, top + 48, 12, foil)];
  },
  function tiles(top, r, foil, second) {
    const shapes = [];
    for (let row = 0; row < 4; row += 1) {
      for (let column = 0; column < 4; column += 1) {
        const x = 12 + column * 24;
        const y = top + row * 24;
        const turn = Math.floor(r() * 4) * 90;
        shapes.push(svg("path", {
          d: `M${x},${y}h24a24,24 0 0 1 -24,24z`, fill: r() < 0.55 ? foil : second, transform: `rotate(${turn} ${x + 12} ${y + 12})`,
        }));
      }
    }
    return shapes;
  },
  function arches(top, r, foil, second) {
    const doors = 2 + Math.floor(r() * 2);
    const wide = 96 / doors;
    return Array.from({ length: doors }, (_, i) => [0, 1, 2].map((inner) => {
      const x = 12 + i * wide + 4 + inner * 5;
      const half = (wide - 8 - inner * 10) / 2;
      return line(`M${x},${top + 94}V${top + 36 + inner * 4}a${half},${half} 0 0 1 ${half * 2},0V${top + 94}`, inner === 1 ? second : foil, 1.4);
    })).flat();
  },
  function moons(top, r, foil, second) {
    const from = Math.floor(r() * 3);
    return Array.from({ length: 3 }, (_, row) => Array.from({ length: 3 }, (_, column) => {
      const x = 28 + column * 32;
      const y = top + 16 + row * 32;
      const bulge = ((row * 3 + column + from) % 9) / 4 - 1;
      return [
        disc(x, y, 11, second),
        svg("path", { d: `M${x},${y - 11}a11,11 0 0 1 0,22a${Math.abs(bulge * 11).toFixed(1)},11 0 0 ${bulge > 0 ? 1 : 0} 0,-22z`, fill: foil }),
      ];
    })).flat(2);
  },
];

/** The drawn cover as an <svg> of 120 by 180 units. It repeats the title, so readers of the page skip it. */
export function drawnCover(title, author = "") {
  const r = numbers(hash(title));
  const pick = (list) => list[Math.floor(r() * list.length)];
  const [cloth, foil, second] = pick(CLOTHS);
  const motif = pick(MOTIFS);
  const titleFirst = r() < 0.5;
  const { lines, size } = wrapped(title);
  const height = lines.length * size * 1.16;
  const band = titleFirst ? [14, 78] : [116, 162];
  const start = (titleFirst ? 16 : Math.max(112, (band[0] + band[1] - height) / 2)) + size;
  const words = lines.map((text, i) => svg("text", {
    x: 62, y: (start + i * size * 1.16).toFixed(1), "font-size": size, "text-anchor": "middle", fill: foil, class: "cover-title",
  }, text));
  const name = Array.from(author.split(",")[0]);
  return svg("svg", { viewBox: `0 0 ${W} ${H}`, width: W, height: H, class: "drawn", "aria-hidden": "true", focusable: "false" },
    svg("rect", { width: W, height: H, fill: cloth }),
    svg("g", { transform: titleFirst ? "translate(17 72) scale(0.75)" : "translate(8 8) scale(0.9)" }, motif(0, r, foil, second)),
    ...words,
    name.length && titleFirst ? svg("text", { x: 62, y: 164, "font-size": 7.5, "text-anchor": "middle", fill: foil, class: "cover-name" },
      name.length > 24 ? `${name.slice(0, 23).join("")}…` : name.join("")) : null,
    svg("rect", { x: 7.5, y: 5.5, width: W - 13, height: H - 11, fill: "none", stroke: foil, "stroke-width": 0.7, opacity: 0.75 }),
    svg("rect", { width: 4, height: H, fill: "#000", opacity: 0.22 }),
    svg("rect", { x: 4, width: 1, height: H, fill: "#fff", opacity: 0.16 }));
}

/** A title as at most four lines and their type size, by the usual width of letters (no measuring, no reflow). */
function wrapped(title) {
  const longest = Math.max(0, ...title.split(/\s+/).map(width));
  for (const size of [15, 13, 11, 9.5]) {
    const wide = 96 / (size * 0.53);
    const lines = breakInto(title, wide);
    if (lines.length <= 3 && (longest <= wide || size === 9.5)) return { lines, size };
  }
  const lines = breakInto(title, 19).slice(0, 4);
  if (lines.length === 4) lines[3] = `${Array.from(lines[3]).slice(0, 17).join("")}…`;
  return { lines, size: 9.5 };
}

/** About how wide a text is, in small letters of a bold serif: capitals take more, ideographs twice as much. */
function width(text) {
  let sum = 0;
  for (const letter of text) {
    if (letter.codePointAt(0) > 0x2e7f || letter === "W") sum += 2;
    else if ("Mmw—%@".includes(letter)) sum += 1.7;
    else if ("ijlI.,:;'!|".includes(letter)) sum += 0.65;
    else sum += /\p{Lu}/u.test(letter) ? 1.4 : 1;
  }
  return sum;
}

function breakInto(title, wide) {
  const lines = [];
  for (const word of title.split(/\s+/).filter(Boolean).flatMap((one) => chopped(one, wide))) {
    const last = lines.at(-1);
    if (last !== undefined && width(`${last} ${word}`) <= wide) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}

function chopped(word, wide) {
  if (width(word) <= wide) return [word];
  const pieces = [""];
  for (const letter of word) {
    if (width(pieces.at(-1) + letter) > wide) pieces.push("");
    pieces[pieces.length - 1] += letter;
  }
  return pieces;
}
