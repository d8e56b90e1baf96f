// One hit as a card: cover, title, authors, year, a few lines about it, and the details that open below.

import { pictureOf, show } from "./api.js";
import { drawnCover, hash } from "./cover.js";
import { el, excerpt, marked } from "./dom.js";
import { hasCovers, isBlank, label, parts, pictureFields, titleOf, webAddress, written, yearsOf } from "./fields.js";
import { flip } from "./panels.js";
import { condition } from "./state.js";

const PART_NAMES = { text: "Meaning", lexical: "Words", cover: "Cover" };
const partName = (part) => PART_NAMES[part] ?? label(part);

let made = 0; // cards so far, for their elements' ids

/** `links` makes addresses: links.like(hit, field) and links.narrow(expression) give <a> attributes. */
export function card(hit, collection, links) {
  const document_ = hit.document ?? {};
  const part = parts(collection);
  const title = titleOf(document_, collection);
  made += 1;
  const key = `hit-${made}`;
  const covers = hasCovers(collection);
  const panel = el("div", { id: `${key}-details`, class: "details", hidden: true });
  const toggle = el("button", {
    type: "button", class: "quiet toggle", "aria-expanded": "false", "aria-controls": panel.id, "aria-label": `Details: ${title}`,
  }, "Details");
  toggle.addEventListener("click", () => flip(toggle, () => details(hit, collection, links, title)));
  const body = el("div", { class: "text" },
    el("h2", { id: `${key}-title` }, whole(document_, part.title, hit.highlights) ?? title),
    byline(document_, part, hit.highlights),
    about(document_, part, hit.highlights),
    el("p", { class: "acts" }, alike(hit, collection, links, title), toggle));
  const article = el("article", { class: covers ? "card" : "card plain", tabindex: "-1", "aria-labelledby": `${key}-title` },
    covers ? cover(hit, collection, title, written(document_[part.by]), toggle) : null, body, panel);
  if (!covers) article.style.setProperty("--spine", `hsl(${hash(title) % 360} 32% 48%)`);
  return el("li", { "data-id": hit.id }, article);
}

/** Grey shapes of the size of cards, shown while the first answer is on its way. */
export function ghosts(collection, count = 6) {
  const covers = hasCovers(collection);
  return Array.from({ length: count }, () => el("li", { class: "ghost", "aria-hidden": "true" },
    el("div", { class: covers ? "card" : "card plain" }, covers ? el("div", { class: "cover" }) : null,
      el("div", { class: "text" }, el("p", {}), el("p", {}), covers ? el("p", {}) : null))));
}

/** Links to what is like it: in everything, and in its picture where it has one that is known. */
function alike(hit, collection, links, title) {
  const [field] = pictureFields(collection);
  const seen = field && collection.picture && !isBlank(hit.document?.[collection.picture]);
  return [
    el("a", { ...links.like(hit), class: "quiet", "aria-label": `More like this: ${title}` }, "More like this"),
    seen ? el("a", { ...links.like(hit, field), class: "quiet", "aria-label": `Looks like this: ${title}` }, "Looks like this") : null,
  ];
}

function cover(hit, collection, title, author, toggle) {
  // Among covers only, where they are all there is to click; the keyboard has the button itself.
  const frame = el("div", { class: "cover", onclick: () => { if (frame.closest(".covers")) toggle.click(); } });
  const picture = collection.picture ? pictureOf(collection, hit.id, hit.document?.[collection.picture]) : null;
  if (picture === null) {
    frame.append(drawnCover(title, author));
    return frame;
  }
  const image = el("img", { alt: "", width: 120, height: 180, loading: "lazy", decoding: "async" });
  image.addEventListener("error", () => image.replaceWith(drawnCover(title, author)));
  image.addEventListener("load", () => {
    const ratio = image.naturalWidth / image.naturalHeight;
    image.classList.toggle("whole", ratio < 0.55 || ratio > 0.85);
  });
  show(image, picture);
  frame.append(image);
  return frame;
}

/** A column's whole value with its marks, or null where it is blank. Marks on a list count in its joined text. */
function whole(document_, column, highlights) {
  if (!column || isBlank(document_[column])) return null;
  return marked(written(document_[column], column), highlights?.[column]);
}

function byline(document_, part, highlights) {
  const years = yearsOf(document_, part);
  const when = part.when && written(document_[part.when], part.when) === years ? whole(document_, part.when, highlights) : years;
  const pieces = [whole(document_, part.by, highlights), when].filter(Boolean);
  if (pieces.length === 0) {
    for (const column of part.rest) {
      const text = written(document_[column], column);
      if (text && text.length <= 60 && pieces.length < 3) pieces.push(el("span", {}, `${label(column)} `, el("b", {}, text)));
    }
  }
  if (pieces.length === 0) return null;
  return el("p", { class: "by" }, ...pieces.flatMap((piece, i) => (i ? [" · ", piece] : [piece])));
}

/** A few lines about it, cut near the first mark; the whole text once the details are open (class "all"). */
function about(document_, part, highlights) {
  const column = part.about ?? part.rest.find((one) => Array.isArray(document_[one]) && !isBlank(document_[one]));
  const text = column ? written(document_[column], column) : "";
  if (!text) return null;
  const ranges = highlights?.[column];
  const [start, shifted] = excerpt(text, ranges);
  return el("p", { class: "about" },
    el("span", { class: "start" }, marked(start, shifted)),
    start === text ? null : el("span", { class: "entire" }, marked(text, ranges)));
}

function details(hit, collection, links, title) {
  const document_ = hit.document ?? {};
  const part = parts(collection);
  const shown = part.rest.filter((column) => !isBlank(document_[column]));
  const rows = shown.flatMap((column) => [el("dt", {}, label(column)),
    el("dd", {}, value(column, document_[column], collection, links, hit.highlights?.[column]))]);
  const text = part.about ? written(document_[part.about]) : "";
  return [
    // Among covers, the card shows no more than its picture, so what it leaves out stands here.
    el("div", { class: "head" }, el("p", { class: "name" }, title), byline(document_, part, hit.highlights),
      text ? el("p", { class: "about all" }, marked(text, hit.highlights?.[part.about])) : null,
      el("p", { class: "acts" }, alike(hit, collection, links, title))),
    el("dl", {}, ...rows, el("dt", {}, "Id"), el("dd", {}, el("code", {}, hit.id))),
    el("div", {}, foundBy(hit), scores(hit)),
  ];
}

/** Which parts of the search found it, in words. */
function foundBy(hit) {
  const found = Object.keys(hit.scores ?? {}).map((part) => `its ${partName(part).toLowerCase()}`);
  if (found.length === 0) return null;
  const last = found.pop();
  return el("p", { class: "found-by" }, `Found by ${found.length ? `${found.join(", ")} and ` : ""}${last}.`);
}

function value(column, content, collection, links, ranges) {
  const narrows = collection.facets?.includes(column);
  const isList = Array.isArray(content);
  if (narrows) {
    const values = (isList ? content : [content]).filter((one) => !isBlank(one));
    return el("span", { class: "tags" }, values.map((one) =>
      el("a", { ...links.narrow(condition(column, one, isList)), class: "tag" }, written(one, column))));
  }
  const text = written(content, column);
  const safe = webAddress(text);
  return safe ? el("a", { href: safe, rel: "noopener noreferrer", target: "_blank" }, text) : marked(text, ranges);
}

/** What each part of the search thought of this hit; its rank in that part too, where the answer explains. */
function scores(hit) {
  const given = Object.entries(hit.scores ?? {}).filter(([, score]) => typeof score === "number");
  const rows = given.map(([name, score]) => el("tr", {},
    el("th", { scope: "row" }, partName(name)),
    el("td", {}, score.toFixed(3)),
    el("td", {}, Number.isInteger(hit.ranks?.[name]) ? `number ${hit.ranks[name]}` : "")));
  const total = typeof hit.score === "number" ? hit.score.toPrecision(3) : "";
  return el("table", { class: "scores" },
    el("caption", {}, `Why it is number ${hit.rank}`),
    el("tbody", {}, ...rows, el("tr", {}, el("th", { scope: "row" }, "Together"), el("td", {}, total), el("td", {}, ""))));
}
