// Tokens → safe nodes. All that a model wrote becomes DOM here and nowhere else.

import DOMPurify from "dompurify";
import { html } from "chat/markdown/parser";

const SAFE = {
  RETURN_DOM_FRAGMENT: true,
  ALLOWED_TAGS: "a blockquote br code del em h1 h2 h3 h4 h5 h6 hr li ol p pre span strong table tbody td th thead tr ul".split(" "),
  ALLOWED_ATTR: ["align", "class", "data-language", "data-math", "href", "start"],
  ADD_URI_SAFE_ATTR: ["data-language", "data-math", "start"], // not held against the rule for addresses
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  ALLOWED_URI_REGEXP: /^(?:https?|mailto):/i,
};

const clone = (id) => document.getElementById(id).content.firstElementChild.cloneNode(true);

// → a fragment with the blocks as its children.
export function render(tokens) {
  const fragment = DOMPurify.sanitize(html(tokens), SAFE);
  fragment.replaceChildren(...fragment.children); // without the line ends between them
  for (const link of fragment.querySelectorAll("a")) {
    link.target = "_blank";
    link.rel = "noopener noreferrer nofollow";
  }
  for (const table of fragment.querySelectorAll("table")) wrap(table);
  for (const code of fragment.querySelectorAll("pre")) frame(code);
  return fragment;
}

// A wide table scrolls by itself and not the page.
function wrap(table) {
  const box = document.createElement("div");
  box.className = "table";
  box.tabIndex = 0;
  table.replaceWith(box);
  box.append(table);
}

function frame(pre) {
  const block = clone("code-block");
  block.querySelector(".code__language").textContent = pre.dataset.language || "text";
  pre.replaceWith(block);
  block.append(pre);
}
