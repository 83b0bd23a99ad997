// Colours for code, loaded when the first block of a known language is finished.

const ALIASES = {
  "c++": "cpp", cs: "csharp", console: "shell", golang: "go", h: "c", html: "xml", js: "javascript", jsx: "javascript", kt: "kotlin",
  md: "markdown", py: "python", rb: "ruby", rs: "rust", sh: "bash", shell: "shell", svg: "xml", ts: "typescript", tsx: "typescript", yml: "yaml", zsh: "bash",
};
const KNOWN = new Set(
  ("bash c cpp csharp css dart diff dockerfile elixir go graphql haskell ini java javascript json julia kotlin latex less lua makefile " +
    "markdown matlab nginx objectivec perl php plaintext powershell python r ruby rust scala scss shell sql swift typescript vbnet xml yaml").split(" "),
);
const MOST_CHARS = 100_000; // beyond, colours are not worth the wait

let core;

export async function highlight(pre) {
  const given = (pre.dataset.language ?? "").toLowerCase();
  const language = ALIASES[given] ?? given;
  const code = pre.firstElementChild;
  const text = code.textContent;
  if (!KNOWN.has(language) || text.length > MOST_CHARS) return;
  core ??= import("highlight/core.min.js").then((module) => module.default);
  const hljs = await core;
  if (!hljs.getLanguage(language)) {
    hljs.registerLanguage(language, (await import(`highlight/languages/${language}.min.js`)).default);
  }
  const { value } = hljs.highlight(text, { language, ignoreIllegals: true });
  // Its markup is spans of classes around escaped text; parsed apart from the page, so that only spans can come of it.
  const spans = new DOMParser().parseFromString(`<pre>${value}</pre>`, "text/html").querySelector("pre");
  if (spans.textContent === text) code.replaceChildren(...spans.childNodes);
}
