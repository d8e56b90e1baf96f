// The page's one controller: state in, request out, answer on the screen.

import * as api from "./api.js";
import { card } from "./card.js";
import { showChooser, showModes, showViews } from "./controls.js";
import { isPlainClick } from "./dom.js";
import { pictureFields, titleOf } from "./fields.js";
import { watchKeys } from "./keys.js";
import { chips } from "./narrow.js";
import { nothing, problem, unknownCollection, welcome } from "./notices.js";
import { placeAll } from "./panels.js";
import { Unusable, keep, kept } from "./picture.js";
import { Recent } from "./recent.js";
import { watchLink } from "./share.js";
import { NOTHING, PAGE, address, asks, read, request } from "./state.js";
import { showPicture, takePictures, tell, tellGone } from "./taking.js";
import { busy, entitle, further, narrowBy, say, settle, tally } from "./view.js";
import { visits } from "./visits.js";

const PAUSE = 250; // milliseconds without a key before what was typed is searched
const TRIES = 3; // times in a row that the page asks again by itself
const REMEMBERED = 30; // answers kept for "back"

const $ = (id) => document.getElementById(id);
const box = $("q");
const hits = $("hits");

let collections = null;
let collection = null;
let state = read(location.search);
let running = null; // AbortController of the search under way
let pause = 0;
let typing = false; // in the middle of typing, a search replaces the address instead of adding one
let tries = 0;
let snapshot = null;
const memory = new Recent(REMEMBERED); // request -> answer, for "back" and "forward"
const titles = new Map(); // collection and id -> title, for "like"
const isList = new Map(); // collection and column -> whether its values are lists, as far as documents have told
const places = visits();

// ---- addresses -------------------------------------------------------------------------------------------------

/** Attributes of a link that leads to a changed state: a real address, followed in place on a plain click. */
function to(change) {
  const next = { ...state, ...change };
  return {
    href: address(next),
    onclick: (event) => {
      if (!isPlainClick(event)) return;
      event.preventDefault();
      go(next, { focus: true });
    },
  };
}

const links = {
  change: to,
  without: to,
  query: (text) => to({ q: text, like: "", field: "", picture: "", where: [], offset: 0 }),
  like: (hit, field = "") => to({ q: "", like: hit.id, field, picture: "", where: [], mode: "", offset: 0 }),
  choose: () => $("choose").click(),
  narrow: (expression) => to({ where: [...new Set([...state.where, expression])], offset: 0 }),
  toggle: (expression) => to({
    where: state.where.includes(expression) ? state.where.filter((one) => one !== expression) : [...state.where, expression],
    offset: 0,
  }),
};

/** Move to a state: address, controls, search. */
function go(next, { replace = false, focus = false, remembered = false, traversed = false } = {}) {
  clearTimeout(pause);
  if (!traversed) {
    const same = address(next) === address(state) && next.picture === state.picture;
    places[replace || same ? "replace" : "push"](address(next), next.picture);
  }
  tell("");
  if (focus) typing = false;
  state = next;
  if (box.value.trim() !== state.q.trim()) box.value = state.q;
  show();
  return search({ focus, remembered });
}

/** The controls as the state has them. */
function show() {
  const named = state.collection || collections?.[0]?.name;
  collection = collections?.find((one) => one.name === named) ?? null;
  $("clear").hidden = box.value === "" && !asks(state);
  $("home").href = address({ ...NOTHING, collection: state.collection });
  showModes(collection, state, (mode) => go({ ...state, mode, offset: 0 }));
  showChooser(collections ?? [], collection, (name) => {
    const picture = pictureFields(collections.find((one) => one.name === name)).length ? state.picture : "";
    go({ ...NOTHING, collection: name, q: state.q, view: state.view, picture });
  });
  showViews(collection, state, look);
  showPicture(kept(state.picture), () => {
    box.focus();
    go({ ...state, picture: "", offset: 0 });
  });
  const asked = chips(state, titles.get(`${collection?.name}/${state.like}`), links);
  $("asked").replaceChildren(...asked);
  $("asked").hidden = asked.length === 0;
  entitle(state, titles.get(`${collection?.name}/${state.like}`));
  $("about").textContent = collection
    ? `${Number(collection.documents).toLocaleString("en")} documents in ${collection.name}` : "";
}

/** The same results, looked at in another way: nothing is asked. */
function look(view) {
  places.push(address({ ...state, view }), state.picture);
  state = { ...state, view };
  show();
  placeAll();
}

/** Search by a picture that someone gave, together with the words that are there. */
async function take(file) {
  try {
    const picture = await keep(file);
    typing = false;
    await go({ ...state, q: box.value, like: "", field: "", picture, offset: 0 });
  } catch (failure) {
    if (!(failure instanceof Unusable)) throw failure;
    tell(failure.message);
  }
}

// ---- searching -------------------------------------------------------------------------------------------------

async function search({ focus = false, remembered = false } = {}) {
  running?.abort();
  running = null;
  settle();
  if (!collections) return start();
  if (!collection) return say(unknownCollection(state.collection, collections, links));
  if (!asks(state)) {
    if (focus) box.focus();
    return say(welcome(collection, links));
  }
  const k = state.offset + PAGE;
  const body = request(state, collection, 0, k, kept(state.picture)?.base64);
  const key = `${collection.name} ${JSON.stringify({ ...body, image: state.picture })}`;
  if (remembered && memory.has(key)) return found(memory.get(key), k);
  const mine = begin();
  try {
    nameLiked(mine.signal);
    const answer = await api.search(collection.name, body, mine.signal);
    if (mine !== running) return undefined;
    memory.set(key, answer);
    tries = 0;
    found(answer, k);
    scrollTo(0, 0);
    if (focus) hits.focus({ preventScroll: true });
  } catch (failure) {
    if (mine === running) fail(failure);
  } finally {
    if (mine === running) settle();
  }
  return undefined;
}

function begin() {
  const mine = new AbortController();
  running = mine;
  busy(asks(state) ? collection ?? { picture: "not known yet" } : null, () => mine === running);
  return mine;
}

/** The title for the "Like" chip of a shared link, where no card has told it yet. */
async function nameLiked(signal) {
  const id = state.like;
  const key = `${collection.name}/${id}`;
  if (!id || titles.has(key)) return;
  const document_ = await api.documentOf(collection.name, id, signal).catch(() => null);
  if (!document_ || state.like !== id) return;
  titles.set(key, titleOf(document_.document ?? document_, collection));
  show();
}

// ---- the answer on the screen ----------------------------------------------------------------------------------

function cardsOf(answer) {
  return answer.hits.filter((hit) => hit.id !== state.like).map((hit) => {
    titles.set(`${collection.name}/${hit.id}`, titleOf(hit.document, collection));
    for (const [column, value] of Object.entries(hit.document ?? {})) {
      if (value !== null) isList.set(`${collection.name}/${column}`, Array.isArray(value));
    }
    return card(hit, collection, links);
  });
}

function found(answer, k) {
  const cards = cardsOf(answer);
  const isMore = answer.hits.length >= k;
  snapshot = answer.snapshot;
  $("notice").replaceChildren(...(cards.length ? [] : [nothing(state, collection, links)]));
  hits.replaceChildren(...cards);
  narrowBy(answer.facets, state, (column) => isList.get(`${collection.name}/${column}`), links);
  tally(answer, isMore, state);
  further(isMore, state.offset + PAGE, showMore);
}

async function showMore() {
  const next = { ...state, offset: state.offset + PAGE };
  const mine = begin();
  try {
    const answer = await api.search(collection.name, request(state, collection, next.offset, PAGE, kept(state.picture)?.base64), mine.signal);
    if (mine !== running) return;
    if (answer.snapshot !== snapshot) { // a new snapshot went live in between: its order is another
      await go(next, { replace: true });
      return;
    }
    state = next;
    places.replace(address(state), state.picture);
    const cards = cardsOf(answer);
    hits.append(...cards);
    const isMore = answer.hits.length >= PAGE;
    tally(answer, isMore, state);
    further(isMore, state.offset + PAGE, showMore);
    cards[0]?.querySelector(".card").focus();
  } catch (failure) {
    if (mine === running) $("further").replaceChildren(problem(failure, { retry: showMore, patient: false }));
  } finally {
    if (mine === running) settle();
  }
}

function fail(failure) {
  tries += 1;
  const clear = state.where.length && failure.status >= 400 && failure.status < 500 ? links.change({ where: [], offset: 0 }) : null;
  say(problem(failure, { retry: () => search(), patient: tries <= TRIES, clear }));
}

// ---- start -----------------------------------------------------------------------------------------------------

async function start() {
  const mine = begin();
  try {
    const served = await api.collections(mine.signal);
    if (mine !== running) return;
    collections = served;
    tries = 0;
    show();
    await search();
  } catch (failure) {
    if (mine === running) fail(failure);
  } finally {
    if (mine === running) settle();
  }
}

function typed() {
  clearTimeout(pause);
  $("clear").hidden = box.value === "";
  pause = setTimeout(() => {
    const words = box.value;
    if (words.trim() === state.q.trim()) return;
    go({ ...state, q: words, like: "", field: "", offset: 0 }, { replace: typing });
    typing = true;
  }, PAUSE);
}

function clearAll() {
  box.value = "";
  box.focus();
  typing = false;
  go({ ...NOTHING, collection: state.collection, mode: state.mode, view: state.view });
}

box.addEventListener("input", (event) => { if (!event.isComposing) typed(); });
box.addEventListener("compositionend", typed);
box.addEventListener("change", () => { typing = false; });
$("search").addEventListener("submit", (event) => {
  event.preventDefault();
  const words = box.value;
  const same = words.trim() === state.q.trim();
  go({ ...state, q: words, like: words.trim() ? "" : state.like, offset: same ? state.offset : 0 }, { replace: typing });
  typing = false;
});
$("clear").addEventListener("click", clearAll);
$("home").addEventListener("click", (event) => {
  if (!isPlainClick(event)) return;
  event.preventDefault();
  clearAll();
});
addEventListener("online", () => { if ($("notice").querySelector(".failed")) search(); });
places.onmove(async (picture) => {
  typing = false;
  await go({ ...read(location.search), picture: kept(picture) ? picture : "" }, { remembered: true, traversed: true });
  if (picture && !state.picture) tellGone();
});
watchKeys(box, hits, clearAll);
watchLink();
takePictures({ isWanted: () => pictureFields(collection).length > 0, take, refuse: tell });
if (places.kept) tellGone();
if (state.q) box.value = state.q;
else if (box.value) state = { ...state, q: box.value }; // typed before this script arrived
show();
start();
if (document.activeElement === document.body) box.focus();
