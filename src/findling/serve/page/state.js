// What is asked, and its address. The address is the whole state, so a link can be shared and "back" works.

import { pictureFields } from "./fields.js";

export const PAGE = 24; // results that one request brings
const LOOKS = "looks"; // the mode that asks for what pictures show
export const MOST = 960; // results that one page of the browser shows; the service allows k up to 1,000

/**
 * State: {collection, q, mode, like, field, where: [expression], offset, view, picture}; empty strings mean "the
 * default". `field` is what to be like in. `picture` is the key of one that the page keeps: it alone has no address.
 */
export const NOTHING = Object.freeze({
  collection: "", q: "", mode: "", like: "", field: "", where: Object.freeze([]), offset: 0, view: "", picture: "",
});

/** The state that an address' query string says. Nonsense in it becomes the default. */
export function read(search) {
  const given = new URLSearchParams(search);
  const offset = Math.floor(Number(given.get("offset") ?? 0) / PAGE) * PAGE;
  return {
    ...NOTHING,
    collection: given.get("collection") ?? "",
    q: given.get("q") ?? "",
    mode: given.get("mode") ?? "",
    like: given.get("like") ?? "",
    field: given.get("like") ? given.get("field") ?? "" : "",
    view: given.get("view") === "covers" ? "covers" : "",
    where: given.getAll("where").filter((text) => text.trim() !== ""),
    offset: offset > 0 ? Math.min(offset, MOST - PAGE) : 0,
  };
}

/** The relative address of a state; what is at its default is left out. */
export function address(state) {
  const said = new URLSearchParams();
  if (state.collection) said.set("collection", state.collection);
  if (state.q.trim()) said.set("q", state.q.trim());
  if (state.like) said.set("like", state.like);
  if (state.like && state.field) said.set("field", state.field);
  if (state.mode) said.set("mode", state.mode);
  for (const expression of state.where) said.append("where", expression);
  if (state.view) said.set("view", state.view);
  if (state.offset > 0) said.set("offset", String(state.offset));
  const text = said.toString();
  return text ? `?${text}` : "./";
}

/** Whether there is anything to search for. */
export function asks(state) {
  return state.q.trim() !== "" || state.like !== "" || state.picture !== "";
}

/**
 * The body of the search request for `k` results from `offset`, with facet counts only for the first page.
 * `image` is the picture of the state, as base64.
 */
export function request(state, collection, offset, k, image = "") {
  const body = { k, offset };
  if (state.like) body.like = state.like;
  else if (state.q.trim() || !state.picture) body.q = state.q.trim();
  if (state.like && state.field) Object.assign(body, { field: state.field, mode: "semantic" });
  if (state.picture) body.image = image;
  if (!state.like && collection.modes?.length) Object.assign(body, wayOf(state, collection));
  const where = together(state.where);
  if (where) body.where = where;
  if (offset === 0 && collection.facets?.length) body.facets = collection.facets;
  return body;
}

/** The modes of a collection, and "looks" where words can also be compared with what pictures show alone. */
export function modesOf(collection) {
  const modes = collection?.modes ?? [];
  return modes.includes("semantic") && shownIn(collection) ? [...modes, LOOKS] : modes;
}

/** The field in which words find pictures; null where there is none, or no other one. */
function shownIn(collection) {
  const pictured = pictureFields(collection);
  if (pictured.length === (collection.fields ?? []).length) return null;
  return pictured.find((name) => collection.modalities[name].includes("text")) ?? null;
}

/** Words alone can be searched in any mode; a picture has no words, and beside it words count in every way. */
function wayOf(state, collection) {
  if (state.picture) return { mode: state.q.trim() ? collection.modes[0] : "semantic" };
  const mode = modesOf(collection).includes(state.mode) ? state.mode : collection.modes[0];
  return mode === LOOKS ? { mode: "semantic", field: shownIn(collection) } : { mode };
}

function together(expressions) {
  if (expressions.length < 2) return expressions[0] ?? "";
  return expressions.map((expression) => `(${expression})`).join(" and ");
}

const RESERVED = /^(and|or|not|in|contains|is|null|true|false)$/i;

/** The filter for one value of one column: `year = 1851`, `subjects contains 'Whaling'`. */
export function condition(column, value, isList) {
  const name = /^[A-Za-z_]\w*$/.test(column) && !RESERVED.test(column) ? column : `"${column.replaceAll('"', '""')}"`;
  const literal = typeof value === "string" ? `'${value.replaceAll("'", "''")}'` : String(value);
  return `${name} ${isList ? "contains" : "="} ${literal}`;
}

/** Without its quotes and operators where it is one that `condition` made: {column, value}, else null. */
export function plain(expression) {
  const match = /^(?:"((?:[^"]|"")+)"|([A-Za-z_]\w*)) (?:contains|=) (?:'((?:[^']|'')*)'|([\w.+-]+))$/.exec(expression);
  if (!match) return null;
  const [, quoted, bare, text, literal] = match;
  return {
    column: quoted === undefined ? bare : quoted.replaceAll('""', '"'),
    value: text === undefined ? literal : text.replaceAll("''", "'"),
  };
}
