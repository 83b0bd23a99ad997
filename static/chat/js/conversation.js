// What the page knows of one chat session: a pure function of the frames it received and the operations it sent.
// No DOM and no socket here. What has to be asked of the server in turn is left in `todo`.

const ENDED = new Set(["completed", "stopped", "failed"]);
const END_OF = { "run.completed": "done", "run.stopped": "stopped", "run.failed": "failed" };

export const EMPTY = Object.freeze({
  session: null, // the id of the chat session, null for a new one
  title: "",
  model: "",
  messages: [], // the active branch, oldest first
  runs: {}, // id → {message, seq, status, behind}
  pending: {}, // id of an operation without a reply yet → the operation
  more: null, // cursor of the page of earlier messages
  recheck: null, // the leaf that somebody chose while one of our own operations had no reply yet
  problem: null, // the last refused operation: {code, message, retryable, operation}
  todo: [],
});

export function reduce(state, frame) {
  if (frame.seq !== undefined && frame.type !== "run.snapshot" && frame.run) return onEvent(state, frame);
  return HANDLERS[frame.type]?.(state, frame) ?? state;
}

export const activeRun = (state) =>
  Object.entries(state.runs).find(
    ([, run]) => !ENDED.has(run.status) && state.messages.some((message) => message.id === run.message),
  )?.[0] ?? null;

export const textOf = (message) =>
  message.parts.filter((part) => part.type === "text").map((part) => part.text).join("");

const HANDLERS = {
  __proto__: null, // a frame type is never looked up in Object.prototype
  // Operations of our own, shown before the server has answered them.
  "prompt.send": (state, operation) => ({
    ...state,
    problem: null,
    pending: { ...state.pending, [operation.id]: operation },
    messages: [...state.messages, promptMessage(operation.id, operation.text, "pending")],
  }),
  "message.regenerate": (state, operation) => ({
    ...state,
    problem: null,
    pending: { ...state.pending, [operation.id]: operation },
  }),
  "session.open": (state, operation) =>
    operation.before || operation.session === state.session ? state : { ...EMPTY, session: operation.session },
  "session.leave": () => EMPTY,

  "session.state": onState,
  "run.accepted": onAccepted,
  "run.snapshot": onSnapshot,
  "session.changed": onChanged,
  error: onError,
};

function onState(state, frame) {
  if (frame.session.id !== state.session) return state;
  if (frame.re?.startsWith("earlier")) {
    const known = new Set(state.messages.map((message) => message.id));
    const earlier = frame.messages.filter((message) => !known.has(message.id));
    return { ...state, messages: [...earlier, ...state.messages], more: frame.more };
  }
  const runs = {};
  for (const run of frame.runs) runs[run.run] = { message: run.message, seq: run.seq, status: run.status, behind: false };
  const live = Object.fromEntries(frame.runs.map((run) => [run.message, run]));
  // A run may have ended between its snapshot and the reading of its message: its events still follow, so the
  // snapshot is what they continue.
  const messages = frame.messages.map((message) =>
    live[message.id]
      ? { ...message, run: live[message.id].run, status: "streaming", parts: live[message.id].parts }
      : message,
  );
  const unsent = state.messages.filter((message) => message.status === "pending");
  const { title, model } = frame.session;
  return { ...state, title, model, runs, more: frame.more, messages: [...messages, ...unsent] };
}

function onAccepted(state, frame) {
  const { [frame.re]: operation, ...pending } = state.pending;
  const ours = state.session ?? (operation ? frame.session : null);
  if (frame.session !== ours) return operation ? { ...state, pending } : state;
  let messages = state.messages.filter((message) => message.id !== frame.re || !knows(state, frame.user_message));
  messages = messages.map((message) =>
    message.id === frame.re ? { ...message, id: frame.user_message, siblings: [frame.user_message], status: "done" } : message,
  );
  if (!messages.some((message) => message.id === frame.message)) messages = withAnswer(messages, frame);
  const run = state.runs[frame.run] ?? { message: frame.message, seq: 0, status: "queued", behind: false };
  const next = { ...state, session: ours, pending, messages, runs: { ...state.runs, [frame.run]: run } };
  const moved = state.recheck && state.recheck !== frame.message;
  return { ...next, recheck: null, todo: moved ? [...next.todo, opening(next)] : next.todo };
}

function withAnswer(messages, frame) {
  const at = messages.findIndex((message) => message.id === frame.user_message);
  const before = messages[at + 1]; // the answer that is written anew
  const siblings = [...(before?.siblings ?? []), frame.message];
  const answer = { id: frame.message, role: "assistant", parent: frame.user_message, siblings, parts: [] };
  const kept = at < 0 ? messages : messages.slice(0, at + 1);
  return [...kept, { ...answer, status: "streaming", run: frame.run }];
}

function onEvent(state, frame) {
  const run = state.runs[frame.run];
  if (!run) {
    const here = frame.type === "run.started" && frame.session === state.session;
    return here ? unknownRun(state, frame) : state;
  }
  if (frame.seq <= run.seq) return state; // seen already
  if ((frame.from ?? frame.seq) !== run.seq + 1) {
    if (run.behind) return state; // asked already
    const ask = { type: "run.follow", run: frame.run, after: run.seq };
    return { ...withRun(state, frame.run, { behind: true }), todo: [...state.todo, ask] };
  }
  return EVENTS[frame.type]?.(withRun(state, frame.run, { seq: frame.seq, behind: false }), frame, run) ??
    withRun(state, frame.run, { seq: frame.seq, behind: false });
}

const EVENTS = {
  __proto__: null,
  "run.started": (state, frame, run) =>
    withMessage(withRun(state, frame.run, { status: "running" }), run.message, () => ({
      model: frame.model,
      attempt: frame.attempt,
    })),
  "text.delta": (state, frame, run) => withMessage(state, run.message, (message) => ({ parts: grown(message, frame, "text") })),
  "reasoning.delta": (state, frame, run) =>
    withMessage(state, run.message, (message) => ({ parts: grown(message, frame, "reasoning") })),
  "run.restarted": (state, frame, run) =>
    withMessage(state, run.message, () => ({ parts: frame.parts, attempt: frame.attempt })),
  "run.completed": ended,
  "run.stopped": ended,
  "run.failed": ended,
};

function grown(message, frame, type) {
  const parts = [...message.parts];
  const part = parts[frame.part] ?? { type, text: "" };
  parts[frame.part] = { ...part, text: part.text + frame.text };
  return parts;
}

function ended(state, frame, run) {
  const { usage, error, type } = frame;
  const next = withMessage(withRun(state, frame.run, { status: type.slice(4) }), run.message, () => ({
    status: END_OF[type],
    usage,
    error,
  }));
  const message = next.messages.find(({ id }) => id === run.message);
  const whole = !message || codePoints(textOf(message)) === frame.text_length;
  return whole ? next : { ...next, todo: [...next.todo, opening(next)] };
}

function onSnapshot(state, frame) {
  const run = state.runs[frame.run];
  if (!run && !knows(state, frame.message)) return unknownRun(state, frame);
  if (run && frame.seq < run.seq) return state;
  const { message, seq, status } = frame;
  const next = withRun(state, frame.run, { message, seq, status, behind: false });
  return withMessage(next, message, () => ({ parts: frame.parts, run: frame.run, status: "streaming" }));
}

// Another tab or client began a run here: its prompt is not among its events, so the branch is read anew.
function unknownRun(state, frame) {
  if (!state.session) return state;
  const run = { message: frame.message, seq: frame.seq, status: "running", behind: true };
  const next = { ...state, runs: { ...state.runs, [frame.run]: run } };
  return { ...next, todo: [...next.todo, opening(next)] };
}

function onChanged(state, frame) {
  if (frame.session !== state.session) return state;
  const next = frame.title === undefined ? state : { ...state, title: frame.title };
  const leaf = state.messages.findLast((message) => message.status !== "pending");
  if (!frame.active || frame.active === leaf?.id) return next;
  if (Object.keys(state.pending).length) return { ...next, recheck: frame.active };
  return { ...next, todo: [...next.todo, opening(next)] };
}

function onError(state, frame) {
  const { [frame.re]: operation, ...pending } = state.pending;
  const { code, message, retryable } = frame;
  const messages = state.messages.filter(({ id, status }) => status !== "pending" || id !== frame.re);
  return { ...state, pending, messages, problem: { code, message, retryable, operation } };
}

const opening = (state) => ({ type: "session.open", session: state.session });

const knows = (state, id) => state.messages.some((message) => message.id === id);

const promptMessage = (id, text, status) => ({ id, role: "user", siblings: [], parts: [{ type: "text", text }], status });

const withRun = (state, id, changes) => ({ ...state, runs: { ...state.runs, [id]: { ...state.runs[id], ...changes } } });

const withMessage = (state, id, change) => ({
  ...state,
  messages: state.messages.map((message) => (message.id === id ? { ...message, ...change(message) } : message)),
});

function codePoints(text) {
  let count = 0;
  for (const _ of text) count += 1;
  return count;
}
