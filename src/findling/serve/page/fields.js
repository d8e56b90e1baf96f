// Which column plays which part on a card, and how a value is written. Collections differ: books, titles, any table.

const PARTS = {
  by: ["authors", "author", "creators", "creator", "by", "artist"],
  when: ["year", "first_published", "published", "date", "first_year"],
  about: ["description", "summary", "abstract", "text", "body", "caption"],
};
const WHOLE = /(^|_)(id|ids|isbn|year|date|code|zip|phone)($|_|s$)/i;
const NAMES = { cover_url: "Cover", isbn: "ISBN", id: "Id", work_id: "Work", first_year: "First published" };

/** {title, by, when, first, about, rest}: column names of the collection (or null), the rest in their own order. */
export function parts(collection) {
  const columns = collection.columns ?? [];
  const found = { title: collection.title ?? columns[0] ?? "title" };
  for (const [part, names] of Object.entries(PARTS)) {
    found[part] = names.find((name) => columns.includes(name) && name !== found.title) ?? null;
  }
  found.first = found.when === "year" && columns.includes("first_year") ? "first_year" : null;
  const taken = new Set([...Object.values(found), collection.picture, "id"]);
  return { ...found, rest: columns.filter((column) => !taken.has(column)) };
}

/** When it appeared: its year, and before that the year of the first edition where it is another. */
export function yearsOf(document, { when, first }) {
  const [year, earliest] = [when, first].map((column) => (column ? written(document[column], column) : ""));
  if (!earliest || earliest === year) return year;
  return year ? `${earliest}; this edition ${year}` : earliest;
}

/** The vector fields that know pictures. */
export function pictureFields(collection) {
  const known = Object.entries(collection?.modalities ?? {});
  return known.filter(([, kinds]) => Array.isArray(kinds) && kinds.includes("image")).map(([name]) => name);
}

/** Whether cards of this collection have covers: it has pictures, or it is about books. */
export function hasCovers(collection) {
  return Boolean(collection.picture) || parts(collection).by !== null;
}

/** A column's name for people: `first_published` is "First published". */
export function label(column) {
  if (Object.hasOwn(NAMES, column)) return NAMES[column];
  const words = column.replaceAll("_", " ").trim();
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** Whether a value has nothing to show. */
export function isBlank(value) {
  return value === null || value === undefined || value === "" || (Array.isArray(value) && value.every(isBlank));
}

// Library catalogues' own codes for languages, where they differ from those that browsers know (ISO 639-2/B).
const LIBRARY_CODES = {
  alb: "sq", arm: "hy", baq: "eu", bur: "my", chi: "zh", cze: "cs", dut: "nl", fre: "fr", geo: "ka", ger: "de", gre: "el",
  ice: "is", mac: "mk", may: "ms", per: "fa", rum: "ro", slo: "sk", tib: "bo", wel: "cy",
};

function language(code) {
  try {
    return new Intl.DisplayNames(["en"], { type: "language" }).of(LIBRARY_CODES[code] ?? code) ?? code;
  } catch {
    return code;
  }
}

/** A value as one line of text. Years and identifiers are not given thousands separators. */
export function written(value, column = "") {
  if (isBlank(value)) return "";
  if (Array.isArray(value)) return value.filter((one) => !isBlank(one)).map((one) => written(one, column)).join(", ");
  if (typeof value === "number") return WHOLE.test(column) ? String(value) : value.toLocaleString("en");
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value === "object") return JSON.stringify(value);
  return /^languages?$/.test(column) && /^[a-z]{2,3}$/.test(value) ? language(value) : String(value);
}

/** The address if the text is one that is safe to link to (http or https), else null. */
export function webAddress(text) {
  if (!/^https?:\/\/\S+$/i.test(text)) return null;
  try {
    return new URL(text).href;
  } catch {
    return null;
  }
}

/** A document's title. */
export function titleOf(document, collection) {
  return written(document?.[parts(collection).title]) || "Untitled";
}
