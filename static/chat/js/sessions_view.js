// The list of chat sessions. Newest first; changed by frames of any tab.

export class SessionsView {
  #list;

  constructor(list) {
    this.#list = list;
  }

  // A chat session that this page just began, with the words it will be called by until it has a title.
  began(id, title) {
    if (this.#item(id)) return;
    this.#list.prepend(this.#make(id, title));
  }

  changed({ session, title, archived, deleted }) {
    const item = this.#item(session);
    if (archived || deleted) return item?.remove();
    const shown = item ?? this.#make(session, title);
    if (title) shown.querySelector("a").textContent = title;
    if (this.#list.firstElementChild !== shown) this.#list.prepend(shown);
  }

  select(id) {
    for (const link of this.#list.querySelectorAll("[aria-current]")) link.removeAttribute("aria-current");
    this.#item(id)?.querySelector("a").setAttribute("aria-current", "page");
  }

  title(id) {
    return this.#item(id)?.textContent.trim() ?? "";
  }

  #item(id) {
    return id && this.#list.querySelector(`[data-session="${CSS.escape(id)}"]`);
  }

  #make(id, title) {
    const item = document.getElementById("session-template").content.firstElementChild.cloneNode(true);
    item.dataset.session = id;
    const link = item.querySelector("a");
    link.href = `/c/${encodeURIComponent(id)}/`;
    link.textContent = title || "New chat";
    return item;
  }
}
