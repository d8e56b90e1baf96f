// The parts of the page around the cards: how many there are, the notice in their place, the facets beside them.

import { ghosts } from "./card.js";
import { el } from "./dom.js";
import { facetLists } from "./narrow.js";
import { offerLink } from "./share.js";
import { MOST, asks } from "./state.js";

const SLOW = 150; // milliseconds before a search is shown to be running

const $ = (id) => document.getElementById(id);
const wide = matchMedia("(min-width: 62rem)");
wide.addEventListener("change", () => {
  for (const lists of $("narrow").querySelectorAll("details")) lists.open = wide.matches;
});

/** Say that a search runs, visibly only if it still does (`isCurrent`) after a moment. Shown cards stay, dimmed. */
export function busy(collection, isCurrent) {
  $("hits").setAttribute("aria-busy", "true");
  setTimeout(() => {
    if (!isCurrent() || !$("hits").hasAttribute("aria-busy")) return;
    document.body.classList.add("searching");
    if ($("hits").childElementCount > 0 || collection === null) return;
    $("notice").replaceChildren();
    $("hits").replaceChildren(...ghosts(collection));
  }, SLOW);
}

/** The search is over, well or not. */
export function settle() {
  $("hits").removeAttribute("aria-busy");
  document.body.classList.remove("searching");
}

/** A notice in the place of cards. */
export function say(section) {
  $("hits").replaceChildren();
  $("notice").replaceChildren(section);
  $("narrow").replaceChildren();
  $("tally").textContent = "";
  for (const id of ["narrow", "further", "degraded", "share", "views"]) $(id).hidden = true;
}

/** The facets of an answer, open where there is room and where they were open before. */
export function narrowBy(facets, state, isListColumn, links) {
  const wasOpen = $("narrow").querySelector("details")?.open ?? false;
  const lists = facetLists(facets, state, isListColumn, links);
  $("narrow").replaceChildren(...(lists ? [lists] : []));
  $("narrow").hidden = lists === null;
  if (lists) lists.open = wide.matches || wasOpen;
}

/** The name of the page and of its results. `likeTitle`: of the document to be like, as far as it is known. */
export function entitle(state, likeTitle = "") {
  const words = state.q.trim();
  const what = state.like ? likeTitle : state.picture ? `your picture${words ? ` and ${words}` : ""}` : words;
  const kind = state.like ? (state.field ? "Looks like " : "Like ") : "";
  document.body.classList.toggle("asks", asks(state)); // room for results, so that nothing moves when they come
  document.title = what ? `${kind}${what} · findling` : "findling";
  $("heading").textContent = what ? `Results for ${what}` : "Search";
}

/** How many cards there are, of more or of no more, and how long the service took; and what can be done with them. */
export function tally(answer, isMore, state) {
  const count = $("hits").childElementCount;
  const took = answer.took_ms;
  const time = typeof took === "number" ? ` in ${took < 10 ? took.toFixed(1) : Math.round(took)} ms` : "";
  const number = count === 0 ? "No results" : count === 1 ? "1 result" : isMore ? `The closest ${count}` : `${count} results`;
  $("tally").textContent = number + time;
  offerLink(count > 0, state.picture !== "");
  $("views").hidden = count === 0 || $("views").classList.contains("none");
  $("degraded").hidden = !answer.degraded;
}

/** The button for more, `onclick: showMore`, or the word that there is no paging further. */
export function further(isMore, shown, showMore) {
  $("further").hidden = !isMore;
  $("further").replaceChildren(shown < MOST
    ? el("button", { type: "button", class: "solid", id: "more", onclick: showMore }, "Show more")
    : el("p", { class: "soft" }, `These are the closest ${MOST}. Say more about it to narrow them.`));
}
