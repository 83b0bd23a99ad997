// Formulas, drawn by KaTeX, which is loaded with the first of them.

const MOST_CHARS = 2_000;

let katex;

function load() {
  const sheet = document.createElement("link");
  sheet.rel = "stylesheet";
  sheet.href = import.meta.resolve("katex/katex.min.css");
  document.head.append(sheet);
  return import("katex/katex.mjs").then((module) => module.default);
}

export async function draw(span) {
  const source = span.textContent;
  if (source.length > MOST_CHARS) return;
  katex ??= load();
  const { render } = await katex;
  const drawn = document.createElement("span");
  try {
    render(source, drawn, { displayMode: span.dataset.math === "block", trust: false, strict: "ignore", maxExpand: 200, maxSize: 20 });
  } catch {
    return; // half a formula, or none: the source stays
  }
  span.replaceChildren(...drawn.childNodes);
  span.title = source;
}
