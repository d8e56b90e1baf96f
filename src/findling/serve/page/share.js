// The button that copies the address. A picture cannot be in an address, and the button says so before it is used.

const $ = (id) => document.getElementById(id);

let name = "Copy link";

/** Offer the link where there is something to share. */
export function offerLink(isOffered, hasPicture) {
  name = hasPicture ? "Copy link without the picture" : "Copy link";
  $("share").hidden = !isOffered || !navigator.clipboard;
  $("share").textContent = name;
}

/** Let the button work. */
export function watchLink() {
  $("share").addEventListener("click", async () => {
    const done = await navigator.clipboard.writeText(location.href).then(() => "Copied", () => "Not allowed");
    $("share").textContent = done;
    setTimeout(() => { $("share").textContent = name; }, 2000);
  });
}
