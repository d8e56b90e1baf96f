// Pictures to search by: read, made small, and kept for as long as the page is open. None of them can be in a link.

import { Recent } from "./recent.js";

const SIDE = 512; // pixels: no encoder looks at more, so no more is sent
const LIGHT = 1_000_000; // bytes that are sent as they are
const HEAVIEST = 40_000_000; // bytes that are read at all
const LARGEST = 100_000_000; // pixels that are decoded
const SMALLEST = 3; // pixels of a side: anything less shows nothing, and the service refuses it
const READ_BY_THE_SERVICE = ["image/jpeg", "image/png", "image/webp", "image/gif"];
const KEPT = 12; // pictures, for "back" and "forward"

const pictures = new Recent(KEPT, ({ address }) => URL.revokeObjectURL(address)); // key -> {name, address, base64}
let made = 0;

/** Why a picture cannot be used, in words for whoever chose it. */
export class Unusable extends Error {}

/** Read a picture and keep it: its key, for the state and the history. Raises Unusable. */
export async function keep(file) {
  const blob = await small(file);
  made += 1;
  const key = `${Date.now()}-${made}`; // never one from before a reload
  pictures.set(key, { name: file.name ?? "", address: URL.createObjectURL(blob), base64: await base64(blob) });
  return key;
}

/** A kept picture: {name, address (blob:), base64}; undefined where it is none or is gone. */
export function kept(key) {
  return pictures.get(key);
}

/** The picture as the service takes it: itself, or a JPEG of at most SIDE pixels, on white. */
async function small(file) {
  const name = file.name ? `“${file.name}”` : "That";
  if (file.type && !file.type.startsWith("image/")) {
    throw new Unusable(`${name} is not a picture. JPEG, PNG, WebP and GIF can be searched by.`);
  }
  if (file.size > HEAVIEST) {
    throw new Unusable(`${name} is too large: ${Math.round(file.size / 1e6)} MB, and ${HEAVIEST / 1e6} are taken. A screenshot of it will do.`);
  }
  const address = URL.createObjectURL(file);
  try {
    const image = await loaded(address, name);
    const [width, height] = [image.naturalWidth, image.naturalHeight];
    if (Math.min(width, height) < SMALLEST) throw new Unusable(`${name} is too small to show anything.`);
    if (width * height > LARGEST) throw new Unusable(`${name} has too many pixels: ${width} by ${height}. A screenshot of it will do.`);
    const scale = SIDE / Math.max(width, height);
    if (scale >= 1 && file.size <= LIGHT && READ_BY_THE_SERVICE.includes(file.type)) return file;
    return await drawn(image, ...[width, height].map((side) => Math.max(SMALLEST, Math.round(side * Math.min(1, scale)))));
  } finally {
    URL.revokeObjectURL(address);
  }
}

function loaded(address, name) {
  return new Promise((resolve, reject) => {
    const image = new Image();
    image.onload = () => resolve(image);
    image.onerror = () => reject(new Unusable(`${name} cannot be read by this browser. JPEG, PNG, WebP and GIF can; of anything else, a screenshot will do.`));
    image.src = address;
  });
}

async function drawn(image, width, height) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const brush = canvas.getContext("2d");
  brush.fillStyle = "#fff";
  brush.fillRect(0, 0, width, height);
  brush.imageSmoothingQuality = "high";
  brush.drawImage(image, 0, 0, width, height);
  const blob = await new Promise((resolve) => { canvas.toBlob(resolve, "image/jpeg", 0.9); });
  if (!blob) throw new Unusable("That picture could not be made small enough to send. A screenshot of it will do.");
  return blob;
}

function base64(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => reject(new Unusable("That picture could not be read. It may have been moved or deleted."));
    reader.readAsDataURL(blob);
  });
}
