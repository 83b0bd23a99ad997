// What stands around the thread: the state line, the notice, the menu of phones, what a screen reader is told.

const LABELS = { connecting: "Connecting", live: "Live", reconnecting: "Reconnecting", offline: "Offline" };
const SPOKEN = {
  "run.completed": "Answer complete",
  "run.stopped": "Answer stopped",
  "run.failed": "The answer failed",
};
const SITE = "Tokenwire";

const find = (selector) => document.querySelector(selector);

export function showConnection(state) {
  const line = find(".connection");
  line.dataset.state = state;
  line.lastElementChild.textContent = LABELS[state];
}

export function announce(type) {
  if (type in SPOKEN) find("#announcer").textContent = SPOKEN[type];
}

export function showTitle(title) {
  find(".head__title").textContent = title || "New chat";
  document.title = title ? `${title} · ${SITE}` : SITE;
}

export function showHello({ demo, models }) {
  find(".notice").hidden = !demo;
  const select = find("#model");
  select.replaceChildren(...models.map(({ id, label, default: first }) => new Option(label, id, first, first)));
  select.hidden = models.length < 2;
}

// The chosen model, or undefined to leave it to the server.
export const chosenModel = () => (find("#model").hidden ? undefined : find("#model").value);

export function showModel(model) {
  const select = find("#model");
  if ([...select.options].some((option) => option.value === model)) select.value = model;
}

export function closeMenu() {
  toggleMenu(false);
}

export function wireMenu() {
  find(".head__menu").addEventListener("click", () => toggleMenu(document.body.dataset.menu !== "open"));
  find(".veil").addEventListener("click", closeMenu);
  document.addEventListener("keydown", (event) => event.key === "Escape" && closeMenu());
}

function toggleMenu(open) {
  document.body.dataset.menu = open ? "open" : "closed";
  find(".head__menu").setAttribute("aria-expanded", open);
}
