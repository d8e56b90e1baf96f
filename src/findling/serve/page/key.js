// The key that a service may ask for: kept until the tab is closed, sent with every request, never in an address.

import { el } from "./dom.js";

const NAME = "findling-key";
const SENDABLE = /^[\x21-\x7e]+$/; // what a header can hold

let key = kept();

function kept() {
  try {
    return sessionStorage.getItem(NAME) ?? "";
  } catch { // the browser keeps nothing for this page
    return "";
  }
}

function keep(text) {
  key = text;
  try {
    sessionStorage.setItem(NAME, text);
  } catch { /* then it holds until the page is loaded again */ }
}

/** Whether there is a key to send. */
export function hasKey() {
  return key !== "";
}

/** What a request carries. */
export function keyHeaders() {
  return key ? { Authorization: `Bearer ${key}` } : {};
}

/** The question for the key, in the place of results; `retry()` asks the service again with what was given. */
export function askForKey(retry) {
  const wasWrong = hasKey();
  const box = el("input", {
    id: "key", name: "key", type: "password", required: true, autocomplete: "off", spellcheck: "false", "aria-describedby": "key-said",
  });
  const said = el("p", { id: "key-said", class: "soft", role: "alert" }, wasWrong ? "That key is not known here." : null);
  const form = el("form", { class: "key" },
    el("label", { for: "key" }, "Key"), box, el("button", { type: "submit", class: "solid" }, "Go on"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const text = box.value.trim();
    if (!SENDABLE.test(text)) {
      said.textContent = "That is no key: it has letters, digits, - and _ only.";
      return;
    }
    keep(text);
    retry();
  });
  return el("section", { class: "notice" },
    el("h2", {}, "This service asks for a key."),
    el("p", {}, "Whoever runs it can give you one. It is kept until this tab is closed, and goes nowhere else."),
    form, said);
}
