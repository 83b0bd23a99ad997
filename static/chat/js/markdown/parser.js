// Markdown as models write it → tokens → HTML. HTML of the model's own is shown as text, images as links.

import { Marked } from "marked";

const LINKS = /^(https?:|mailto:)/i;
const ESCAPES = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };

const escaped = (text) => text.replace(/[&<>"']/g, (character) => ESCAPES[character]);

// What KaTeX is to draw later; until then, and where it fails, the source is shown.
const math = (display) => ({ text }) => `<span class="math" data-math="${display ? "block" : "inline"}">${escaped(text)}</span>`;

const DISPLAY = /^ {0,3}(?:\$\$([^$]+?)\$\$|\\\[([\s\S]+?)\\\])[ \t]*(?:\n|$)/;
const INLINE = /^(?:\$\$([^$\n]+?)\$\$|\\\[([^\n]+?)\\\]|\\\(([\s\S]+?)\\\)|\$(?![\s$])([^$\n]*?[^\s\\$])\$(?![\d\w]))/;

const token = (type, match) => match && { type, raw: match[0], text: match.slice(1).find((group) => group !== undefined).trim() };

const extensions = [
  {
    name: "mathBlock",
    level: "block",
    start: (source) => source.match(/^ {0,3}(?:\$\$|\\\[)/m)?.index,
    tokenizer: (source) => token("mathBlock", DISPLAY.exec(source)) ?? undefined,
    renderer: (found) => `<p>${math(true)(found)}</p>\n`,
  },
  {
    name: "mathInline",
    level: "inline",
    start: (source) => source.match(/\$|\\[([]/)?.index,
    tokenizer: (source) => token("mathInline", INLINE.exec(source)) ?? undefined,
    renderer: (found) => math(/^(\$\$|\\\[)/.test(found.raw))(found),
  },
];

const renderer = {
  html: ({ text }) => escaped(text),
  code: ({ text, lang }) => `<pre data-language="${escaped((lang ?? "").split(/\s/)[0])}"><code>${escaped(text)}</code></pre>\n`,
  checkbox: ({ checked }) => (checked ? "☑ " : "☐ "),
  link({ href, tokens }) {
    const text = this.parser.parseInline(tokens);
    return LINKS.test(href) ? `<a href="${escaped(href)}">${text}</a>` : text;
  },
  image: ({ href, text }) => (LINKS.test(href) ? `<a href="${escaped(href)}">${escaped(text || href)}</a>` : escaped(text)),
};

const marked = new Marked({ gfm: true, extensions, renderer });

export const lex = (text) => marked.lexer(text);

export const html = (tokens) => marked.parser(tokens);
