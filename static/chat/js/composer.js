// The prompt box: grows with its text, sends on Enter, stops on Escape.

export class Composer {
  #form;
  #box;
  #problem;
  #handlers;
  #running = false;

  // handlers: onSend(text), onStop()
  constructor(form, handlers) {
    this.#form = form;
    this.#box = form.querySelector("textarea");
    this.#problem = form.querySelector(".composer__problem");
    this.#handlers = handlers;
    form.querySelector("fieldset").disabled = false;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.#running) this.#handlers.onStop();
      else this.#send();
    });
    this.#box.addEventListener("input", () => this.#fit());
    this.#box.addEventListener("keydown", (event) => this.#key(event));
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.#running) this.#handlers.onStop();
    });
    this.#fit();
  }

  set text(text) {
    this.#box.value = text;
    this.#fit();
    this.focus();
  }

  get text() {
    return this.#box.value;
  }

  focus() {
    this.#box.focus();
  }

  update({ running, problem }) {
    this.#running = running;
    this.#form.dataset.running = running;
    this.#problem.textContent = problem ?? "";
    this.#problem.hidden = !problem;
    this.#fit();
  }

  #key(event) {
    // While an input method composes a word, Enter picks it. Safari ends the composition before the key: 229.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
    event.preventDefault();
    if (!this.#running) this.#send();
  }

  #send() {
    const text = this.#box.value;
    if (!text.trim()) return;
    this.#box.value = "";
    this.#fit();
    this.#handlers.onSend(text);
  }

  #fit() {
    this.#box.style.height = "auto";
    this.#box.style.height = `${this.#box.scrollHeight}px`;
    this.#form.querySelector("[data-action=send]").disabled = !this.#box.value.trim();
  }
}
