// What is asked, and its address. The address is the whole state, so a link can be shared and "back" works.

export const PAGE = 24; // results that one request brings
export const MOST = 960; // results that one page of the browser shows; the service allows k up to 1,000

/** State: {collection, q, mode, like, where: [expression], offset}; empty strings mean "the default". */
export const NOTHING = Object.freeze({
  collection: "", q: "", mode: "", like: "", where: Object.freeze([]), offset: 0,
});

/** The state that an address' query string says. Nonsense in it becomes the default. */
export function read(search) {
  const given = new URLSearchParams(search);
  const offset = Math.floor(Number(given.get("offset") ?? 0) / PAGE) * PAGE;
  return {
    collection: given.get("collection") ?? "",
    q: given.get("q") ?? "",
    mode: given.get("mode") ?? "",
    like: given.get("like") ?? "",
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
  if (state.mode) said.set("mode", state.mode);
  for (const expression of state.where) said.append("where", expression);
  if (state.offset > 0) said.set("offset", String(state.offset));
  const text = said.toString();
  return text ? `?${text}` : "./";
}

/** Whether there is anything to search for. */
export function asks(state) {
  return state.q.trim() !== "" || state.like !== "";
}

/**
 * The body of the search request for `k` results from `offset`, with facet counts only for the first page.
 * Pictures to search by, when the page takes them, are one more part of this body.
 */
export function request(state, collection, offset, k) {
  const body = { k, offset };
  if (state.like) body.like = state.like;
  else body.q = state.q.trim();
  if (!state.like && collection.modes?.length) body.mode = collection.modes.includes(state.mode) ? state.mode : collection.modes[0];
  const where = together(state.where);
  if (where) body.where = where;
  if (offset === 0 && collection.facets?.length) body.facets = collection.facets;
  return body;
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
