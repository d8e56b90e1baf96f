// What the page says when there are no cards to show: at the start, when nothing was found, when something failed.

import { el, svg } from "./dom.js";
import { hasCovers, pictureFields } from "./fields.js";
import { askForKey } from "./key.js";

/** The start: what this is, and queries to try. `links.query(text)` gives link attributes, `links.choose()` asks for a picture. */
export function welcome(collection, links) {
  const examples = (collection.examples ?? []).slice(0, 8);
  return el("section", { class: "welcome" }, el("div", {},
    el("p", { class: "lead" }, "Ask for it the way you remember it."),
    el("p", {}, (hasCovers(collection) ? "A plot, a mood, a half-remembered scene. " : "A subject, a question, a thing half-remembered. ")
      + "It need not be in the words of the title: meaning counts as much, and the closest come first."),
    pictureFields(collection).length ? el("p", {}, "Or show it: drop a picture anywhere on this page, paste one, or ",
      el("button", { type: "button", class: "inline", onclick: links.choose }, "choose one"), ".") : null,
    examples.length ? el("h2", {}, "For example") : null,
    examples.length ? el("ul", { class: "examples" }, examples.map((text) => el("li", {}, el("a", links.query(text), text)))) : null),
    stone());
}

/** A findling: a boulder that a glacier carried far from where it began. */
function stone() {
  const lines = [
    "M30 178C24 158 27 142 38 124 46 104 58 96 74 72 84 54 98 48 120 42L168 28C182 26 192 34 202 48L232 84C246 100 256 120 262 144 266 160 264 170 256 178Z",
    "M38 124C62 112 88 112 116 122M116 122C132 98 150 62 168 28M116 122C106 142 102 160 108 178",
    "M116 122C146 128 172 122 196 104M196 104C208 90 216 78 218 66M196 104C210 128 214 152 208 178",
    "M52 140c8-3 16-2 24 2M64 156c8-3 14-2 22 2M136 148c12-4 26-5 40-1M150 162c8-2 16-2 24 0M180 52c6 3 10 8 13 14M232 120c5 8 8 16 9 26M84 82c8-6 16-9 26-10",
    "M4 180C60 175 120 182 180 179S262 178 294 181M18 190c20-3 34-2 52 0M190 191c26-3 50-2 74 0",
    "M20 179c-2-10-5-16-10-21M24 178c0-8 2-14 5-18M270 179c1-10 5-18 10-22M276 179c4-6 8-9 14-11",
  ];
  const spots = [[128, 72, 8], [141, 80, 4.5], [120, 86, 3.5], [66, 98, 5], [228, 134, 5], [236, 145, 3]];
  return svg("svg", { class: "stone", viewBox: "0 0 298 200", "aria-hidden": "true", focusable: "false" },
    lines.map((d, i) => svg("path", { d, class: i === 0 ? "body" : null })),
    spots.map(([cx, cy, r]) => svg("circle", { cx, cy, r, class: "lichen" })));
}

/** Nothing was found: what can be done about it, most useful first. */
export function nothing(state, collection, links) {
  const ways = [];
  if (state.where.length) ways.push(el("a", links.change({ where: [], offset: 0 }), state.where.length > 1 ? "Search without the filters" : "Search without the filter"));
  if (state.mode === "lexical" && collection.modes?.includes("semantic")) {
    ways.push(el("a", links.change({ mode: "semantic", offset: 0 }), "Search by meaning instead of by words"));
  }
  const examples = (collection.examples ?? []).slice(0, 2);
  return el("section", { class: "notice" },
    el("h2", {}, state.like ? "Nothing is like that one." : "Nothing was found."),
    el("p", {}, state.where.length ? "The filters may leave nothing over." : "Other words for it may help: say what it is about, as you would to a friend."),
    ways.length ? el("ul", { class: "ways-out" }, ways.map((way) => el("li", {}, way))) : null,
    examples.length ? el("p", { class: "soft" }, "Or try ", ...examples.flatMap((text, i) => [i ? " or " : "", el("a", links.query(text), text)]), ".") : null);
}

/** A collection that is not there, with those that are. */
export function unknownCollection(name, collections, links) {
  if (collections.length === 0) {
    return el("section", { class: "notice" }, el("h2", {}, "Nothing is published yet."),
      el("p", {}, "Build and publish a collection first: ", el("code", {}, "findling build"), ". Then reload this page."));
  }
  return el("section", { class: "notice" }, el("h2", {}, "There is no collection of that name."),
    el("p", {}, "This link asks for ", el("b", {}, name), ", which is not served here. These are:"),
    el("ul", { class: "ways-out" }, collections.map((one) => el("li", {}, el("a", links.change({ collection: one.name, where: [], like: "", field: "", picture: "", offset: 0 }), one.name)))));
}

/**
 * Something failed. `retry()` asks again; where the service said how long to wait, it is called by itself
 * after that time, if `patient` allows it. `clear`, if given, is a link that drops the filters.
 */
export function problem(failure, { retry, patient = true, clear = null }) {
  if (failure.status === 401) return askForKey(retry);
  const [title, advice] = explained(failure);
  const button = el("button", { type: "button", class: "solid", onclick: () => retry() }, "Try again");
  const section = el("section", { class: "notice failed" },
    el("div", { role: "alert" }, el("h2", {}, title), el("p", {}, advice),
      failure.detail && failure.status ? el("p", { class: "said" }, failure.detail) : null),
    el("p", { class: "acts" }, button, clear ? el("a", { ...clear, class: "quiet" }, "Search without the filters") : null),
    failure.status ? el("p", { class: "soft small" }, [failure.title, `status ${failure.status}`, failure.code].filter(Boolean).join(" · ")) : null);
  if (failure.wait !== null && failure.wait <= 300 && patient) countDown(failure.wait, section, button, retry);
  return section;
}

function countDown(wait, section, button, retry) {
  const end = Date.now() + wait * 1000;
  const tick = () => {
    if (!section.isConnected) return;
    const left = Math.ceil((end - Date.now()) / 1000);
    if (left <= 0) {
      retry();
      return;
    }
    button.textContent = `Try again now (by itself in ${left} s)`;
    setTimeout(tick, 250);
  };
  setTimeout(tick, 0);
}

function explained({ status, title, detail, wait }) {
  if (status === 0) {
    return [detail ? "The search service is too slow." : "The search service cannot be reached.",
      detail || "It may be restarting, or the connection is gone. Your words are kept."];
  }
  if (status === 503 || status === 429) {
    const when = wait === null ? "Try again in a moment." : `It asks us to come back in ${wait === 1 ? "a second" : `${wait} seconds`}.`;
    return [status === 429 ? "That was too many searches at once." : "The search service is busy.", when];
  }
  if (status === 403) return ["That is not allowed with this key.", "Another one may do."];
  if (status === 404) return ["That is not here any more.", "The collection may have been rebuilt since the link was made."];
  if (status === 413) return ["That is too large to send.", "Fewer words or a smaller picture will do."];
  if (status === 400 && /no vector field can take/.test(detail)) {
    return ["There is no picture to compare.", "The picture of this one is missing, or could not be read when the collection was built."];
  }
  if (status === 400 && /picture/.test(detail)) return ["The picture cannot be searched by.", "Another one, or a screenshot of it, may do."];
  if (status >= 500) return ["The search service failed.", "This is not because of your words. Trying again may help."];
  return ["The search was not understood.", title];
}
