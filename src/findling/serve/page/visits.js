// The browser's history, with the place on the page of each visit: results arrive after the browser has scrolled.

/** {push, replace, onmove}: addresses go in; `onmove(load)` loads the one returned to, then its place is restored. */
export function visits() {
  const places = new Map();
  let current = history.state?.visit ?? Date.now();
  history.scrollRestoration = "manual";
  history.replaceState({ visit: current }, "");
  addEventListener("scroll", () => places.set(current, scrollY), { passive: true });
  return {
    push(url) {
      current = Math.max(Date.now(), current + 1); // never one from before a reload
      history.pushState({ visit: current }, "", url);
    },
    replace(url) {
      history.replaceState({ visit: current }, "", url);
    },
    onmove(load) {
      addEventListener("popstate", async (event) => {
        current = event.state?.visit ?? 0;
        const place = places.get(current) ?? 0;
        await load();
        scrollTo(0, place);
      });
    },
  };
}
