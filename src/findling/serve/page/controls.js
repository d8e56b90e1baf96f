// The controls under the search box: how to search, and in which collection.

import { el } from "./dom.js";

const WORDS = {
  hybrid: ["Both", "by meaning and by words together"],
  semantic: ["Meaning", "what it is about, in whatever words"],
  lexical: ["Words", "where these very words stand"],
};

/** The mode switch, for a collection with more than one mode; likeness has no modes. `choose(mode)` is called. */
export function showModes(collection, state, choose) {
  const modes = collection?.modes ?? [];
  const field = document.getElementById("modes");
  const hint = document.getElementById("hint");
  const chosen = modes.includes(state.mode) ? state.mode : modes[0];
  const known = [...field.querySelectorAll("input")].map((input) => input.value).join();
  if (known !== modes.join()) {
    field.replaceChildren(field.querySelector("legend"), ...modes.map((mode, i) => modeSwitch(mode, i === 0, choose)));
  }
  for (const input of field.querySelectorAll("input")) input.checked = input.value === chosen;
  field.hidden = modes.length < 2 || state.like !== "";
  hint.textContent = state.like ? "what stands closest to the one you chose" : field.hidden ? "" : WORDS[chosen]?.[1] ?? "";
}

function modeSwitch(mode, isDefault, choose) {
  const [name, hint] = WORDS[mode] ?? [mode, ""];
  const input = el("input", { type: "radio", name: "mode", value: mode, onchange: () => choose(isDefault ? "" : mode) });
  return el("label", { title: hint }, input, el("span", {}, name));
}

/** The collection chooser, only where there is a choice. `choose(name)` is called. */
export function showChooser(collections, collection, choose) {
  const chooser = document.getElementById("chooser");
  const select = document.getElementById("collection");
  chooser.hidden = collections.length < 2;
  if (select.options.length !== collections.length) {
    select.replaceChildren(...collections.map((one) => el("option", { value: one.name }, one.name)));
    select.onchange = () => choose(select.value);
  }
  if (collection) select.value = collection.name;
}
