// How a picture comes to the page: chosen, dropped or pasted; and the chip that shows it and takes it away.

import { el } from "./dom.js";

const $ = (id) => document.getElementById(id);

/** `isWanted()`: whether pictures can be searched by now; `take(file)` gets one; `refuse(text)` what was none. */
export function takePictures({ isWanted, take, refuse }) {
  const file = $("file");
  $("choose").addEventListener("click", () => file.click());
  file.addEventListener("change", () => {
    if (file.files.length) take(file.files[0]);
    file.value = ""; // so that the same file can be chosen again
  });
  watchDrops(isWanted, take, refuse);
  addEventListener("paste", (event) => {
    const pasted = pictureIn(event.clipboardData);
    // From a word processor come words and a picture of them: someone in the box wants the words.
    if (!isWanted() || !pasted || event.clipboardData.getData("text/plain").trim()) return;
    event.preventDefault();
    take(pasted);
  });
}

function pictureIn(transfer) {
  return [...(transfer?.files ?? [])].find((one) => one.type.startsWith("image/"));
}

/** A file can be dropped anywhere, and so can a cover that is on the page. */
function watchDrops(isWanted, take, refuse) {
  let own = null; // the cover being dragged, if it is one of ours
  const isPicture = (event) => own !== null || event.dataTransfer?.types.includes("Files");
  const hover = (event) => {
    if (!isPicture(event)) return;
    event.preventDefault(); // or the browser would leave the page for the file
    event.dataTransfer.dropEffect = isWanted() ? "copy" : "none";
    $("drop").hidden = !isWanted();
  };
  const end = () => { $("drop").hidden = true; };
  addEventListener("dragstart", (event) => {
    own = event.target.closest?.("#hits img") ?? null;
  });
  addEventListener("dragend", () => { own = null; end(); });
  addEventListener("dragenter", hover);
  addEventListener("dragover", hover);
  addEventListener("dragleave", (event) => { if (event.relatedTarget === null) end(); });
  addEventListener("drop", async (event) => {
    end();
    if (!isPicture(event)) return;
    event.preventDefault();
    const [cover, files] = [own, event.dataTransfer.files];
    const dropped = pictureIn(event.dataTransfer) ?? files[0];
    if (!isWanted()) return;
    if (cover && new URL(cover.src).origin === location.origin) await takeFrom(cover.src, take, refuse);
    else if (dropped) take(dropped);
    else refuse("That picture cannot be taken from where it is. Save it first, then drop the file.");
  });
}

async function takeFrom(address, take, refuse) {
  try {
    const response = await fetch(address);
    if (!response.ok) throw new Error(response.statusText);
    take(await response.blob());
  } catch {
    refuse("That picture cannot be read just now. Try it again in a moment.");
  }
}

/** The chip of the picture that is searched by, or none. `remove()` takes it away. */
export function showPicture(picture, remove) {
  const chip = $("picture");
  if (chip.dataset.address === (picture?.address ?? "")) return;
  chip.dataset.address = picture?.address ?? "";
  chip.hidden = !picture;
  chip.replaceChildren(...(picture ? [
    el("img", { src: picture.address, alt: picture.name ? `Your picture: ${picture.name}` : "Your picture", title: picture.name || null, width: 40, height: 40 }),
    el("button", { type: "button", "aria-label": "Take the picture away", onclick: remove },
      el("span", { "aria-hidden": "true" }, "×")),
  ] : []));
}

/** What is wrong with a picture, until the next search; nothing where `text` is empty. */
export function tell(text) {
  $("trouble").textContent = text;
  $("trouble").hidden = text === "";
}

/** That a visit one comes back to had a picture, which is no longer there. */
export function tellGone() {
  tell("Part of this search was a picture. It is kept only while the page is open: add it again to search by it.");
}
