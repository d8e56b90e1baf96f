// The service over HTTP. Every failure becomes one Problem, so that the page has one thing to explain.

import { hasKey, keyHeaders } from "./key.js";

const PATIENCE = 20_000; // milliseconds until an unanswered request is given up

/** What went wrong. `status` 0: no answer came at all. `wait`: seconds the service asked us to wait, or null. */
export class Problem extends Error {
  constructor({ status, title, detail = "", code = "", wait = null }) {
    super(detail || title);
    Object.assign(this, { status, title, detail, code, wait });
  }
}

/** The collections that are being served. */
export async function collections(signal) {
  const answer = await ask("collections", { signal });
  return Array.isArray(answer.collections) ? answer.collections : [];
}

/** One search: the answer, as the service documents it. */
export function search(collection, body, signal) {
  return ask(`${at(collection)}/search`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
    signal,
  });
}

/** One document. */
export function documentOf(collection, id, signal) {
  return ask(`${at(collection)}/documents/${encodeURIComponent(id)}`, { signal });
}

/**
 * The address of a document's picture, given what its picture column says, or null where there is none to show.
 * Files come from the service; a web address is used itself, and only where the service allows its host.
 */
export function pictureOf(collection, id, value) {
  if (typeof value !== "string" || value === "") return null;
  if (!/^(https?:)?\/\//i.test(value)) return `${at(collection.name)}/documents/${encodeURIComponent(id)}/picture`;
  try {
    const address = new URL(value, location.href);
    address.protocol = "https:";
    return collection.image_hosts?.includes(address.hostname) ? address.href : null;
  } catch {
    return null;
  }
}

/** Let an image show a picture. Browsers send no key for images, so with one, the service's own are fetched here. */
export async function show(image, picture) {
  if (!hasKey() || /^https:/.test(picture)) {
    image.src = picture;
    return;
  }
  const response = await fetch(picture, { headers: keyHeaders(), priority: "low" }).catch(() => null);
  if (!response?.ok) {
    image.dispatchEvent(new Event("error"));
    return;
  }
  const address = URL.createObjectURL(await response.blob());
  image.addEventListener("load", () => URL.revokeObjectURL(address), { once: true });
  image.src = address;
}

function at(collection) {
  return `collections/${encodeURIComponent(collection)}`;
}

async function ask(path, { signal, headers = {}, ...options } = {}) {
  const own = new AbortController();
  const stop = () => own.abort();
  signal?.addEventListener("abort", stop);
  let late = false;
  const timer = setTimeout(() => { late = true; stop(); }, PATIENCE);
  try {
    const response = await fetch(path, {
      ...options,
      headers: { Accept: "application/json", ...keyHeaders(), ...headers },
      signal: own.signal,
    });
    if (!response.ok) throw await problemIn(response);
    return await response.json();
  } catch (error) {
    if (error instanceof Problem) throw error;
    if (late) throw new Problem({ status: 0, title: "No answer in time", detail: `Nothing came for ${PATIENCE / 1000} seconds.` });
    if (error instanceof SyntaxError) throw new Problem({ status: 502, title: "The answer could not be read" });
    throw new Problem({ status: 0, title: "No answer" });
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", stop);
  }
}

async function problemIn(response) {
  const said = await response.json().catch(() => ({}));
  const word = (value) => (typeof value === "string" ? value : "");
  return new Problem({
    status: response.status,
    title: word(said?.title) || response.statusText || `Status ${response.status}`,
    detail: word(said?.detail),
    code: word(said?.code),
    wait: seconds(response.headers.get("Retry-After")),
  });
}

/** Retry-After, which is a number of seconds or a date (RFC 9110, 10.2.3), in seconds from now. */
function seconds(text) {
  if (!text) return null;
  const count = /^\d+$/.test(text.trim()) ? Number(text) : Math.ceil((Date.parse(text) - Date.now()) / 1000);
  return Number.isFinite(count) ? Math.max(1, count) : null;
}
