// One text part of an answer as it is written: what is finished is rendered once, only the tail again.

import { Blocks } from "chat/markdown/blocks";
import { highlight } from "chat/markdown/highlight";
import { draw } from "chat/markdown/math";
import { render } from "chat/markdown/render";

const EVERY = 4; // a tail that takes n ms is drawn anew after 4 n: a long list must not take the whole of each frame

export class MarkdownView {
  #element;
  #blocks = new Blocks();
  #text = "";
  #ended = false;
  #tail = [];
  #next = 0;
  #timer = 0;

  constructor(element) {
    this.#element = element;
    element.classList.add("markdown");
    element.replaceChildren();
  }

  update(text, ended) {
    if (text === this.#text && ended === this.#ended) return;
    if (this.#ended || !text.startsWith(this.#text)) this.#restart();
    this.#text = text;
    this.#ended = ended;
    clearTimeout(this.#timer);
    const wait = ended ? 0 : this.#next - performance.now();
    if (wait > 0) this.#timer = setTimeout(() => this.#draw(), wait);
    else this.#draw();
  }

  #restart() {
    this.#blocks = new Blocks();
    this.#tail = [];
    this.#element.replaceChildren();
  }

  #draw() {
    const begun = performance.now();
    const { fresh, tail } = this.#blocks.push(this.#text, this.#ended);
    if (!fresh.length && this.#extend(tail)) {
      this.#element.source = this.#text;
      return;
    }
    for (const node of this.#tail) node.remove();
    for (const tokens of fresh) this.#seal(render(tokens));
    const fragment = tail.length ? render(tail) : document.createDocumentFragment();
    this.#tail = [...fragment.childNodes];
    this.#element.append(fragment);
    this.#element.source = this.#text; // what is shown now, as the model wrote it
    this.#next = performance.now() + (performance.now() - begun) * EVERY;
  }

  // Code that grows, the longest of all tails, only gets more text: no node is made anew, a selection in it survives.
  #extend(tail) {
    const code = this.#tail.length === 1 && this.#tail[0].querySelector?.("pre > code");
    if (!code || tail.length !== 1 || tail[0].type !== "code") return false;
    const shown = code.textContent;
    if (!tail[0].text.startsWith(shown) || code.closest("pre").dataset.language !== (tail[0].lang ?? "").split(/\s/)[0]) return false;
    code.append(tail[0].text.slice(shown.length));
    code.normalize();
    return true;
  }

  #seal(fragment) {
    for (const span of fragment.querySelectorAll(".math")) draw(span).catch(report);
    for (const pre of fragment.querySelectorAll("pre[data-language]")) highlight(pre).catch(report);
    this.#element.append(fragment);
  }
}

// Without colours or drawn formulas the text is all there.
const report = (error) => console.warn(error);
