// Narrowing: the facets beside the results, and the chips that say what is asked and take it back.

import { el } from "./dom.js";
import { isBlank, label, written } from "./fields.js";
import { condition, plain } from "./state.js";

const FEW = 8; // values of a facet that are shown before "show all", which must be worth a click

/** The facet lists. `links.toggle(expression)` gives the attributes of a link that sets or takes back a filter. */
export function facetLists(facets, state, isListColumn, links) {
  const groups = Object.entries(facets ?? {}).map(([column, counts], i) => {
    const known = (Array.isArray(counts) ? counts : []).filter((one) => !isBlank(one.value));
    if (known.length === 0) return null;
    const items = known.map((one) => facetItem(column, one, state, isListColumn(column), links));
    const list = el("ul", {}, items);
    const id = `facet-${i}`;
    const group = el("section", { class: "facet", "aria-labelledby": id }, el("h2", { id }, label(column)), list);
    if (items.length > FEW + 2) shorten(group, items, column);
    return group;
  }).filter(Boolean);
  if (groups.length === 0) return null;
  return el("details", { class: "narrow" }, el("summary", {}, "Narrow the results"), el("div", { class: "facets" }, groups));
}

function facetItem(column, { value, count }, state, isList, links) {
  // "contains" fits a list and a text, so it is the safe guess where no document has told which it is.
  const expression = condition(column, value, isList ?? typeof value === "string");
  const on = state.where.includes(expression);
  return el("li", {}, el("a", { ...links.toggle(expression), "aria-current": on ? "true" : null },
    el("span", { class: "value" }, written(value, column)), " ",
    el("span", { class: "count" }, Number(count).toLocaleString("en"))));
}

function shorten(group, items, column) {
  const rest = items.slice(FEW);
  rest.forEach((item) => { item.hidden = true; });
  const button = el("button", { type: "button", class: "quiet", "aria-label": `Show all of ${label(column)}` }, `Show all ${items.length}`);
  button.addEventListener("click", () => {
    rest.forEach((item) => { item.hidden = false; });
    rest[0].querySelector("a").focus();
    button.remove();
  });
  group.append(button);
}

/** The chips for what is asked beside the words: the document to be like, and each filter. */
export function chips(state, likeTitle, links) {
  const made = [];
  if (state.like) made.push(chip(state.field ? "Looks like" : "Like", likeTitle || state.like, links.without({ like: "", field: "", offset: 0 })));
  for (const expression of state.where) {
    const simple = plain(expression);
    const others = state.where.filter((one) => one !== expression);
    made.push(chip(simple ? label(simple.column) : "Where", simple ? written(simple.value, simple.column) : expression, links.without({ where: others, offset: 0 })));
  }
  return made;
}

function chip(kind, text, link) {
  return el("li", {}, el("a", { ...link, class: "chip", "aria-label": `Take back: ${kind} ${text}` },
    el("span", { class: "kind" }, kind), " ", el("span", { class: "what" }, text), el("span", { class: "cross", "aria-hidden": "true" }, "×")));
}
