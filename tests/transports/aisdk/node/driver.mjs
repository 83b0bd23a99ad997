// Drives the real `useChat` of one generation: one JSON command a line on stdin, one JSON answer a line on stdout.
// A page is simulated by happy-dom; only fetch is node's own, given what a browser adds by itself: cookie and Origin.

import { createInterface } from "node:readline";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { Window } from "happy-dom";

const generation = Number(process.argv[2]);

const window = new Window({ url: "http://localhost/" });
for (const name of ["window", "document", "navigator", "HTMLElement", "HTMLIFrameElement", "Node"]) {
  // Node has a navigator of its own, from version 21 on, that can only be defined anew.
  Object.defineProperty(globalThis, name, { value: window[name], configurable: true, writable: true });
}

const React = (await import("react")).default;
const { createRoot } = await import("react-dom/client");
const { useChat } = await import(`react${generation}`);
// The `ai` that this generation of the hook itself uses: node_modules holds several.
const { DefaultChatTransport } =
  generation >= 5
    ? await import(pathToFileURL(createRequire(import.meta.resolve(`react${generation}`)).resolve("ai")).href)
    : {};

const nativeFetch = globalThis.fetch;
let page = null; // { base, headers, api }
let requests = [];

globalThis.fetch = async (url, options = {}) => {
  const headers = { ...Object.fromEntries(new Headers(options.headers)), ...page.headers };
  const asked = { method: options.method ?? "GET", url: String(url), body: options.body ?? null };
  requests.push(asked);
  const response = await nativeFetch(new URL(url, page.base), { ...options, headers });
  asked.status = response.status;
  return response;
};

let hook = null;
let root = null;
let texts = []; // of the newest answer, each time that it was rendered with another one
let waiting = [];

function Page({ options }) {
  hook = useChat(options);
  React.useEffect(() => {
    const text = state().text;
    if (text !== texts.at(-1)) texts.push(text);
    waiting = waiting.filter((check) => !check());
  });
  return null;
}

const textOf = (message, type, key) =>
  (message.parts ?? []).filter((part) => part.type === type).map((part) => part[key]).join("");

function shown(message) {
  const text = message.content ?? textOf(message, "text", "text");
  const reasoning = message.reasoning ?? textOf(message, "reasoning", "text");
  return { id: message.id, role: message.role, text, reasoning, parts: (message.parts ?? []).map((part) => part.type) };
}

function state() {
  const messages = hook.messages.map(shown);
  const last = messages.at(-1);
  return {
    status: hook.status ?? (hook.isLoading ? "streaming" : hook.error ? "error" : "ready"),
    error: hook.error?.message ?? null,
    messages,
    text: last?.role === "assistant" ? last.text : "",
    texts,
    requests,
  };
}

// Until the hook is in one of these states, and the newest answer has so many characters.
const holds = ({ statuses, characters = 0, count = 0 }) => {
  const { status, text, messages } = state();
  return (!statuses || statuses.includes(status)) && text.length >= characters && messages.length >= count;
};

function wait(condition) {
  return new Promise((resolve, reject) => {
    if (holds(condition)) return resolve();
    const timer = setTimeout(() => reject(new Error(`in vain: ${JSON.stringify(state())}`)), 15_000);
    waiting.push(() => {
      const found = holds(condition);
      if (found) {
        clearTimeout(timer);
        resolve();
      }
      return found;
    });
  });
}

// A rendering that was asked for has come: two turns of React's scheduler.
const rendered = () => new Promise((resolve) => setTimeout(() => setTimeout(resolve, 0), 0));

const say = (text) =>
  generation >= 5 ? hook.sendMessage({ text }) : hook.append({ role: "user", content: text });

const commands = {
  async open({ base, headers, api = "/api/chat", id, messages, options = {} }) {
    root?.unmount();
    page = { base, headers };
    hook = null;
    texts = [];
    requests = [];
    waiting = [];
    root = createRoot(window.document.createElement("div"));
    const given =
      generation >= 5
        ? { id, messages, transport: new DefaultChatTransport({ api }) }
        : { id, initialMessages: messages, api };
    for (const name of Object.keys(given)) {
      if (given[name] === undefined) delete given[name]; // 5.0.0 would begin a new chat with each rendering
    }
    root.render(React.createElement(Page, { options: { ...given, ...options } }));
    while (hook === null) await rendered();
    // Up to 4 its state is kept outside of the page, which really would be gone after a reload.
    if (generation < 5) hook.setMessages(messages ?? []);
    await rendered();
    texts = [];
  },
  async send({ text }) {
    texts = [];
    say(text)?.catch?.(() => {});
    await rendered();
  },
  async regenerate() {
    texts = [];
    (generation >= 5 ? hook.regenerate() : hook.reload())?.catch?.(() => {});
    await rendered();
  },
  async edit({ at, text }) {
    texts = [];
    if (generation >= 5) {
      hook.sendMessage({ text, messageId: hook.messages[at].id })?.catch?.(() => {});
    } else {
      hook.setMessages(hook.messages.slice(0, at));
      await rendered();
      say(text)?.catch?.(() => {});
    }
    await rendered();
  },
  async resume() {
    texts = [];
    await (generation >= 5 ? hook.resumeStream() : hook.experimental_resume());
    while (requests.at(-1)?.status === undefined) await rendered(); // 4 does not wait for the answer
  },
  async stop() {
    await hook.stop();
    await rendered();
  },
  async leave() {
    root.unmount();
    root = null;
  },
  wait,
  async state() {},
};

for await (const line of createInterface({ input: process.stdin })) {
  const { command, ...given } = JSON.parse(line);
  let answer;
  try {
    await commands[command](given);
    answer = hook === null ? {} : state();
  } catch (error) {
    answer = { failed: String(error?.stack ?? error) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
process.exit(0);
