// Details open below the row that their card stands in, as wide as all columns: no card moves sideways for them.

const hits = document.getElementById("hits");
const toggles = (one) => [...one.querySelectorAll(".toggle[aria-expanded=true]")];
const panelOf = (toggle) => document.getElementById(toggle.getAttribute("aria-controls"));

/** Open or close a card's details; `make()` gives their content the first time. */
export function flip(toggle, make) {
  const panel = panelOf(toggle);
  const opens = panel.hidden;
  if (opens && !panel.hasChildNodes()) panel.append(...make());
  set(toggle, opens);
  if (opens) place(toggle);
}

/** Put all open details where they belong, once columns have come or gone. */
export function placeAll() {
  for (const toggle of toggles(hits)) if (toggle.isConnected) place(toggle);
}

new ResizeObserver(placeAll).observe(hits);

function set(toggle, opens) {
  panelOf(toggle).hidden = !opens;
  toggle.setAttribute("aria-expanded", String(opens));
  toggle.closest(".card").querySelector(".about")?.classList.toggle("all", opens);
}

/** One row has room for one: others that are open in it close. */
function place(toggle) {
  const item = toggle.closest("li");
  for (const other of toggles(hits)) {
    if (other !== toggle && other.closest("li").offsetTop === item.offsetTop) set(other, false);
  }
  const panel = panelOf(toggle);
  panel.style.setProperty("--before", `${item.offsetLeft - hits.offsetLeft}px`);
  panel.style.setProperty("--across", `${hits.clientWidth}px`);
}
