// Keys beyond the browser's own: / to the box, arrows (or j and k) between cards, Enter opens one, Esc back and clear.
// Among covers, left and right go to the next one, up and down by a row.

/** `clear()` is called on Esc in the box. Letters are only heard inside the results, never while someone types. */
export function watchKeys(box, hits, clear) {
  addEventListener("keydown", (event) => {
    if (event.isComposing || event.metaKey || event.ctrlKey || event.altKey) return;
    const handled = event.target === box ? inBox(event, hits, clear)
      : hits.contains(event.target) ? inHits(event, box, hits) : elsewhere(event, box);
    if (handled) event.preventDefault();
  });
  document.querySelector(".skip").addEventListener("click", (event) => { // without a "#results" in the history
    event.preventDefault();
    document.getElementById("results").focus();
  });
}

function inBox(event, hits, clear) {
  if (event.key === "Escape") clear();
  else if (event.key === "ArrowDown") return focusCard(hits, 0);
  else return false;
  return true;
}

function inHits(event, box, hits) {
  const cards = [...hits.querySelectorAll("article.card")];
  const at = cards.findIndex((card) => card.contains(event.target));
  const across = hits.classList.contains("covers") ? getComputedStyle(hits).gridTemplateColumns.split(" ").length : 0;
  const step = { ArrowDown: across || 1, j: 1, ArrowUp: -(across || 1), k: -1, ArrowRight: Math.sign(across), ArrowLeft: -Math.sign(across) }[event.key];
  if (step) {
    if (at + step < 0) box.focus();
    return at + step < 0 || focusCard(hits, at + step);
  }
  if (event.key === "Escape") {
    box.focus();
    return true;
  }
  if (event.key === "Enter" && event.target === cards[at]) {
    cards[at].querySelector(".toggle").click();
    return true;
  }
  return elsewhere(event, box);
}

function elsewhere(event, box) {
  if (event.key !== "/" || event.target.closest?.("input:not([type=radio]), textarea, select")) return false;
  box.focus();
  box.select();
  return true;
}

function focusCard(hits, index) {
  const card = hits.querySelectorAll("article.card")[index];
  card?.focus();
  return card !== undefined;
}
