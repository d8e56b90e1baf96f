// The controls beside the search box: how to search, in which collection, and how to look at what was found.

import { el } from "./dom.js";
import { parts, pictureFields } from "./fields.js";
import { modesOf } from "./state.js";

const $ = (id) => document.getElementById(id);

const WORDS = {
  hybrid: ["Both", "by meaning and by words together"],
  semantic: ["Meaning", "what it is about, in whatever words"],
  lexical: ["Words", "where these very words stand"],
  looks: ["Looks", "what its picture shows"],
};

/** The mode switch, for a collection with more than one mode; likeness has no modes, and pictures no words. `choose(mode)` is called. */
export function showModes(collection, state, choose) {
  const modes = modesOf(collection);
  const field = $("modes");
  const hint = $("hint");
  const chosen = modes.includes(state.mode) ? state.mode : modes[0];
  const known = [...field.querySelectorAll("input")].map((input) => input.value).join();
  if (known !== modes.join()) {
    field.replaceChildren(field.querySelector("legend"), ...modes.map((mode, i) => modeSwitch(mode, i === 0, choose)));
  }
  for (const input of field.querySelectorAll("input")) input.checked = input.value === chosen;
  field.hidden = modes.length < 2 || state.like !== "" || state.picture !== "";
  hint.textContent = likeness(state) || (field.hidden ? "" : WORDS[chosen]?.[1] ?? "");
  $("choose").hidden = pictureFields(collection).length === 0;
  $("q").placeholder = state.picture ? "Add words, if you like" : "Describe what you are looking for";
}

function likeness(state) {
  if (state.like) return state.field ? "what looks most like the one you chose" : "what stands closest to the one you chose";
  if (!state.picture) return "";
  return state.q.trim() ? "what looks like your picture and fits your words" : "what looks most like your picture";
}

function modeSwitch(mode, isDefault, choose) {
  const [name, hint] = WORDS[mode] ?? [mode, ""];
  const input = el("input", { type: "radio", name: "mode", value: mode, onchange: () => choose(isDefault ? "" : mode) });
  return el("label", { title: hint }, input, el("span", {}, name));
}

/** The collection chooser, only where there is a choice. `choose(name)` is called. */
export function showChooser(collections, collection, choose) {
  const chooser = $("chooser");
  const select = $("collection");
  chooser.hidden = collections.length < 2;
  if (select.options.length !== collections.length) {
    select.replaceChildren(...collections.map((one) => el("option", { value: one.name }, one.name)));
    select.onchange = () => choose(select.value);
  }
  if (collection) select.value = collection.name;
}

/** The switch between a list and covers, where there are pictures to see. `choose(view)` is called. */
export function showViews(collection, state, choose) {
  const field = $("views");
  const hasPictures = Boolean(collection?.picture);
  if (field.childElementCount === 1 && hasPictures) {
    field.append(...["", "covers"].map((view) => el("label", {},
      el("input", { type: "radio", name: "view", value: view, onchange: () => choose(view) }), el("span", {}))));
  }
  if (hasPictures) {
    const names = ["List", parts(collection).by ? "Covers" : "Pictures"];
    field.querySelectorAll("span").forEach((span, i) => { span.textContent = names[i]; });
  }
  const view = hasPictures ? state.view : "";
  for (const input of field.querySelectorAll("input")) input.checked = input.value === view;
  field.classList.toggle("none", !hasPictures);
  $("hits").classList.toggle("covers", view === "covers");
}
