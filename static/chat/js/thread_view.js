// The messages of the active branch, in order. What Django rendered is taken over, not made again.

import { MessageView } from "chat/message_view";

export class ThreadView {
  #element;
  #views = new Map();

  constructor(element) {
    this.#element = element;
    for (const article of element.querySelectorAll("[data-message]")) {
      this.#views.set(article.dataset.message, new MessageView(article));
    }
  }

  get first() {
    return this.#element.firstElementChild;
  }

  read() {
    return [...this.#views.values()].map((view) => view.read());
  }

  update(messages) {
    const wanted = new Set(messages.map((message) => message.id));
    for (const [id, view] of this.#views) {
      if (wanted.has(id)) continue;
      view.element.remove();
      this.#views.delete(id);
    }
    let at = this.#element.firstElementChild;
    for (const message of messages) {
      const view = this.#views.get(message.id) ?? new MessageView();
      this.#views.set(message.id, view);
      view.update(message);
      if (view.element === at) at = at.nextElementSibling;
      else this.#element.insertBefore(view.element, at);
    }
  }
}
