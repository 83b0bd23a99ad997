// Keeps the end of the thread in view while it grows, unless the reader has scrolled up.

const NEAR = 80; // pixels from the end that still count as "at the end"

export class FollowEnd {
  #scroller;
  #button;
  #following = true;

  constructor(scroller, button) {
    this.#scroller = scroller;
    this.#button = button;
    scroller.addEventListener("scroll", () => this.#look(), { passive: true });
    button.addEventListener("click", () => this.jump());
    // The content as well: a formula is drawn, and code coloured, when nothing else changes any more.
    const growth = new ResizeObserver(() => this.settle());
    for (const element of [scroller, scroller.firstElementChild]) growth.observe(element);
    this.jump();
  }

  jump() {
    this.#following = true;
    this.settle();
  }

  settle() {
    if (this.#following) this.#scroller.scrollTop = this.#scroller.scrollHeight;
    this.#button.hidden = this.#following;
  }

  // Runs a change that may add content above `element`, and leaves it where the reader sees it.
  keeping(element, change) {
    const before = element?.getBoundingClientRect().top;
    change();
    if (element?.isConnected) this.#scroller.scrollTop += element.getBoundingClientRect().top - before;
  }

  #look() {
    const { scrollTop, scrollHeight, clientHeight } = this.#scroller;
    this.#following = scrollHeight - scrollTop - clientHeight < NEAR;
    this.#button.hidden = this.#following;
  }
}
