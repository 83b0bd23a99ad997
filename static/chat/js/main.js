// Wires the parts: frames go through the reducer into the state, the state goes into the views once per frame drawn.

import { Composer } from "chat/composer";
import { Connection } from "chat/connection";
import { EMPTY, activeRun, reduce, textOf } from "chat/conversation";
import * as page from "chat/page_view";
import { FollowEnd } from "chat/scroll";
import { SessionsView } from "chat/sessions_view";
import { ThreadView } from "chat/thread_view";

const RELOAD_ONCE_IN = 10_000;

const { dataset } = document.body;
const main = document.querySelector(".main");
const thread = new ThreadView(document.querySelector(".thread__messages"));
const sessions = new SessionsView(document.querySelector(".sessions"));
const end = new FollowEnd(document.querySelector(".thread"), document.querySelector(".to-end"));
const composer = new Composer(document.querySelector(".composer"), { onSend: sendPrompt, onStop: stop });
const socketUrl = new URL(dataset.socket, location.href);
socketUrl.protocol = location.protocol === "https:" ? "wss:" : "ws:";
const connection = new Connection(socketUrl.href, { onFrame, onState: page.showConnection, onSignedOut });

const more = document.querySelector(".earlier").dataset.cursor || null;
let state = { ...EMPTY, session: dataset.session || null, title: dataset.title, messages: thread.read(), more };
let drawing = 0;

// crypto.randomUUID() is missing on plain http outside localhost.
const newId = () => Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");

function onFrame(frame, bytes) {
  if (frame.type === "hello") {
    page.showHello(frame);
    page.showModel(state.model);
    if (state.session) connection.send({ type: "session.open", session: state.session, id: newId() });
  }
  if (frame.type === "run.accepted") began(frame);
  if (frame.type === "session.changed") sessions.changed(frame);
  const before = state;
  update(frame);
  if (frame.seq !== undefined && before.runs[frame.run]) connection.acknowledge(frame.run, state.runs[frame.run].seq, bytes);
  if (frame.type === "session.state") page.showModel(state.model);
  if (frame.type === "session.changed" && frame.deleted && frame.session === state.session) go(null);
  if (state.runs[frame.run]) page.announce(frame.type);
  if (state.problem && state.problem !== before.problem) refused(state.problem);
}

function update(frame) {
  const before = state;
  state = reduce(state, frame);
  for (const operation of state.todo) connection.send({ ...operation, id: newId() });
  if (state.todo.length) state = { ...state, todo: [] };
  if (state.session && !before.session) history.pushState(null, "", `/c/${state.session}/`);
  if (state !== before) drawing ||= requestAnimationFrame(draw);
}

function draw() {
  drawing = 0;
  end.keeping(thread.first, () => thread.update(state.messages));
  main.dataset.empty = !state.session && !state.messages.length;
  document.querySelector(".earlier").hidden = !state.more;
  page.showTitle(state.title || sessions.title(state.session));
  sessions.select(state.session);
  const running = Boolean(activeRun(state) ?? Object.keys(state.pending).length);
  composer.update({ running, problem: state.problem?.message });
  end.settle();
}

function began({ re, session }) {
  const prompt = state.pending[re]?.text ?? "";
  sessions.began(session, prompt.replace(/\s+/g, " ").trim().slice(0, 60));
}

function refused({ operation }) {
  if (operation?.type === "prompt.send" && !composer.text) composer.text = operation.text;
}

function act(operation) {
  const whole = { ...operation, id: newId() };
  update(whole);
  connection.send(whole);
}

function sendPrompt(text) {
  const session = state.session ?? undefined;
  act({ type: "prompt.send", text, session, model: page.chosenModel() });
  end.jump();
}

function stop() {
  const run = activeRun(state);
  if (run) act({ type: "run.stop", run });
}

function go(session, push = true) {
  if (state.session) connection.send({ type: "session.close", session: state.session, id: newId() });
  if (push) history.pushState(null, "", session ? `/c/${session}/` : "/");
  update({ type: "session.leave" });
  if (session) act({ type: "session.open", session });
  page.closeMenu();
  end.jump();
  if (matchMedia("(hover: hover)").matches) composer.focus();
}

function onSignedOut() {
  const last = Number(sessionStorage.getItem("reloaded"));
  if (Date.now() - last < RELOAD_ONCE_IN) return false;
  sessionStorage.setItem("reloaded", Date.now());
  location.reload();
  return true;
}

async function copy(text, button) {
  await navigator.clipboard.writeText(text);
  button.dataset.done = "true";
  setTimeout(() => delete button.dataset.done, 1500);
}

const ACTIONS = {
  copy: (message, button) => copy(textOf(message), button),
  regenerate: (message) => act({ type: "message.regenerate", message: message.id, model: page.chosenModel() }),
  retry: (message) => act({ type: "message.regenerate", message: message.id, model: page.chosenModel() }),
  previous: (_, button) => act({ type: "branch.select", session: state.session, message: button.dataset.target }),
  next: (_, button) => act({ type: "branch.select", session: state.session, message: button.dataset.target }),
};

document.querySelector(".thread").addEventListener("click", (event) => {
  const button = event.target.closest("[data-action]");
  const id = button?.closest("[data-message]")?.dataset.message;
  const message = state.messages.find((candidate) => candidate.id === id);
  if (message) ACTIONS[button.dataset.action](message, button);
});

const CODE_ACTIONS = {
  copy: (code, button) => copy(code.textContent, button),
  wrap: (code, button) => {
    const wraps = code.closest(".code").classList.toggle("code--wrap");
    button.setAttribute("aria-pressed", wraps);
  },
};

document.querySelector(".thread").addEventListener("click", (event) => {
  const button = event.target.closest("[data-code]");
  if (button) CODE_ACTIONS[button.dataset.code](button.closest(".code").querySelector("code"), button);
});

document.querySelector(".earlier").addEventListener("click", (event) => {
  if (!connection.live) return;
  event.preventDefault();
  connection.send({ type: "session.open", session: state.session, before: state.more, id: `earlier-${newId()}` });
});

document.querySelector(".examples").addEventListener("click", (event) => {
  const example = event.target.closest("button");
  if (example) composer.text = example.dataset.prompt;
});

document.querySelector(".sidebar").addEventListener("click", (event) => {
  const link = event.target.closest("a[data-go]");
  // Without a socket, or for a new tab, the link is a plain link.
  if (!link || !connection.live || event.metaKey || event.ctrlKey || event.shiftKey) return;
  event.preventDefault();
  go(link.closest("li")?.dataset.session ?? null);
});

addEventListener("popstate", () => go(location.pathname.match(/^\/c\/([^/]+)\/$/)?.[1] ?? null, false));

document.documentElement.dataset.clipboard = Boolean(navigator.clipboard);
page.wireMenu();
connection.open();
