// The browser's history, with the place on the page of each visit: results arrive after the browser has scrolled.

/**
 * {kept, push, replace, onmove}: addresses go in, each with what cannot be in it (`kept`, a string);
 * `onmove(load)` calls load(kept) for the one returned to, then its place is restored.
 */
export function visits() {
  const places = new Map();
  let current = history.state?.visit ?? Date.now();
  history.scrollRestoration = "manual";
  const kept = history.state?.kept ?? "";
  history.replaceState({ visit: current, kept }, "");
  addEventListener("scroll", () => places.set(current, scrollY), { passive: true });
  return {
    kept,
    push(url, also = "") {
      current = Math.max(Date.now(), current + 1); // never one from before a reload
      history.pushState({ visit: current, kept: also }, "", url);
    },
    replace(url, also = "") {
      history.replaceState({ visit: current, kept: also }, "", url);
    },
    onmove(load) {
      addEventListener("popstate", async (event) => {
        current = event.state?.visit ?? 0;
        const place = places.get(current) ?? 0;
        await load(event.state?.kept ?? "");
        scrollTo(0, place);
      });
    },
  };
}
