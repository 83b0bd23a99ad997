// One <article> of the thread. Markup comes from the <template>s that Django renders messages with; text is only ever
// set as text.

// Without the packages from npm an answer is shown as plain text.
const { MarkdownView } = await import("chat/markdown/view").catch(() => ({}));

const clone = (id) => document.getElementById(id).content.firstElementChild.cloneNode(true);

export class MessageView {
  #parts;
  #note;
  #retry;
  #shown = null;
  #drawn = new WeakMap(); // text parts of answers: element → MarkdownView

  constructor(element = clone("message-template")) {
    this.element = element;
    this.#parts = element.querySelector(".message__parts");
    this.#note = element.querySelector(".message__note");
    this.#retry = element.querySelector("[data-action=retry]");
  }

  update(message) {
    if (message === this.#shown) return;
    const { dataset } = this.element;
    dataset.message = message.id;
    dataset.role = message.role;
    dataset.status = message.status;
    dataset.run = message.run ?? "";
    this.#showParts(message);
    this.#showNote(message);
    this.#showSiblings(message);
    this.element.querySelector(".message__author").textContent = message.role === "user" ? "You" : "Assistant";
    this.element.querySelector(".message__model").textContent = message.model ?? "";
    this.#shown = message;
  }

  // The message as Django rendered it, until the server's own account of it arrives.
  read() {
    const { message, role, status, run } = this.element.dataset;
    const parts = [...this.#parts.children].map((part) => ({
      type: part.dataset.part,
      text: (part.querySelector("[data-text]") ?? part).textContent,
    }));
    const note = this.#note.firstElementChild.textContent;
    const error = status === "failed" ? { message: note, retryable: !this.#retry.hidden } : undefined;
    const model = this.element.querySelector(".message__model").textContent;
    return { id: message, role, status, run, parts, error, model, siblings: [] };
  }

  #showParts({ parts, role, status }) {
    while (this.#parts.childElementCount > parts.length) this.#parts.lastElementChild.remove();
    parts.forEach((part, index) => {
      let element = this.#parts.children[index];
      if (element?.dataset.part !== part.type) {
        const fresh = clone(part.type === "reasoning" ? "reasoning-part" : "text-part");
        fresh.dataset.part = part.type;
        fresh.hidden = part.text === undefined;
        if (element) element.replaceWith(fresh);
        else this.#parts.append(fresh);
        element = fresh;
      }
      if (part.type === "text" && role === "assistant" && MarkdownView) this.#draw(element, part.text, status !== "streaming");
      else showText(element.querySelector("[data-text]") ?? element, part.text ?? "");
    });
  }

  #draw(element, text, ended) {
    if (!this.#drawn.has(element)) this.#drawn.set(element, new MarkdownView(element));
    this.#drawn.get(element).update(text, ended);
  }

  #showNote({ status, error, attempt }) {
    let note = "";
    if (status === "stopped") note = "Stopped. What was written is kept.";
    else if (status === "failed") note = error?.message ?? "This answer failed.";
    else if (status === "streaming" && attempt > 1) note = "The server restarted, so the answer is written anew.";
    this.#note.firstElementChild.textContent = note;
    this.#note.hidden = !note;
    this.#retry.hidden = !(status === "failed" && error?.retryable);
  }

  #showSiblings({ id, siblings = [] }) {
    const nav = this.element.querySelector(".siblings");
    const at = siblings.indexOf(id);
    nav.hidden = siblings.length < 2 || at < 0;
    if (nav.hidden) return;
    nav.querySelector("output").textContent = `${at + 1} / ${siblings.length}`;
    for (const [direction, step] of [["previous", -1], ["next", 1]]) {
      const button = nav.querySelector(`[data-action=${direction}]`);
      button.disabled = !siblings[at + step];
      button.dataset.target = siblings[at + step] ?? "";
    }
  }
}

// Appends what is new, so that a long answer is not laid out again and a selection in it survives.
function showText(element, text) {
  const node = element.firstChild;
  if (node?.nodeType === Node.TEXT_NODE && !node.nextSibling && text.startsWith(node.data)) {
    if (text.length > node.data.length) node.appendData(text.slice(node.data.length));
  } else {
    element.replaceChildren(text);
  }
}
