// The WebSocket: opens it, notices when it is dead, comes back. No DOM, and nothing about what the frames mean.

const BACK_OFF = { first: 500, most: 10_000 };
const RESTART_JITTER = 500;
const OPEN_WITHIN = 10_000;
const PING_AFTER = 20_000; // of silence
const PONG_WITHIN = 10_000;
const PONG_WITHIN_AWAKE = 4_000; // after a wake-up: the network may be another one
const ACK_BYTES = 16_384;
const ACK_EVERY = 250;

const RESTART = 1012;
const SIGNED_OUT = 4401;
const NOT_ALLOWED = 4403;

// Safe to send again after a lost reply: the server knows their ids, or they do the same twice.
const KEPT = new Set(["prompt.send", "message.regenerate", "run.stop"]);

export class Connection {
  #url;
  #handlers;
  #socket = null;
  #state = "connecting";
  #failures = 0;
  #timers = {};
  #kept = new Map();
  #acks = new Map(); // run → {seq, bytes}
  #acked = 0;

  // handlers: onFrame(frame, bytes), onState(state), onSignedOut()
  constructor(url, handlers) {
    this.#url = url;
    this.#handlers = handlers;
    addEventListener("online", () => this.#wake());
    addEventListener("offline", () => this.#show("offline"));
    addEventListener("pageshow", (event) => event.persisted && this.#wake());
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && this.#wake());
  }

  get live() {
    return this.#state === "live";
  }

  open() {
    clearTimeout(this.#timers.retry);
    const socket = new WebSocket(this.#url, ["chat.v1"]);
    this.#socket = socket;
    socket.onmessage = (event) => socket === this.#socket && this.#receive(event.data);
    socket.onclose = (event) => socket === this.#socket && this.#closed(event.code);
    this.#expect(OPEN_WITHIN);
  }

  send(operation) {
    if (KEPT.has(operation.type)) this.#kept.set(operation.id, operation);
    if (this.live) this.#write(operation);
  }

  // The page has taken in everything of this run up to `seq`: lets the server send on.
  acknowledge(run, seq, bytes) {
    const due = this.#acks.get(run) ?? { seq: 0, bytes: 0 };
    this.#acks.set(run, { seq, bytes: due.bytes + bytes });
    // Not by the timer alone: browsers slow the timers of hidden tabs down to one a minute.
    if (due.bytes + bytes >= ACK_BYTES || performance.now() - this.#acked >= ACK_EVERY) this.#flushAcks();
    else this.#timers.ack ??= setTimeout(() => this.#flushAcks(), ACK_EVERY);
  }

  #flushAcks() {
    clearTimeout(this.#timers.ack);
    this.#timers.ack = undefined;
    this.#acked = performance.now();
    if (this.live) for (const [run, { seq }] of this.#acks) this.#write({ type: "ack", run, seq });
    this.#acks.clear();
  }

  #write(operation) {
    this.#socket.send(JSON.stringify(operation));
  }

  #receive(data) {
    const frame = JSON.parse(data);
    this.#kept.delete(frame.re);
    clearTimeout(this.#timers.dead);
    clearTimeout(this.#timers.ping);
    this.#timers.ping = setTimeout(() => this.#probe(PONG_WITHIN), PING_AFTER);
    if (frame.type === "hello") {
      this.#failures = 0;
      this.#show("live");
    }
    this.#handlers.onFrame(frame, data.length);
    // After the handler: it opens the chat session first, so that replies find it open.
    if (frame.type === "hello") for (const operation of this.#kept.values()) this.#write(operation);
  }

  #probe(within) {
    this.#write({ type: "ping" });
    this.#expect(within);
  }

  #expect(within) {
    clearTimeout(this.#timers.dead);
    this.#timers.dead = setTimeout(() => this.#drop(), within);
  }

  // A dead network keeps close() waiting for minutes: let go of the socket and count it as closed.
  #drop() {
    const socket = this.#socket;
    this.#socket = null;
    socket.close();
    this.#closed(1006);
  }

  #closed(code) {
    this.#socket = null;
    for (const timer of Object.values(this.#timers)) clearTimeout(timer);
    this.#timers = {};
    this.#acks.clear();
    if (code === SIGNED_OUT && this.#handlers.onSignedOut()) return;
    this.#show(navigator.onLine && code !== NOT_ALLOWED ? "reconnecting" : "offline");
    this.#timers.retry = setTimeout(() => this.open(), this.#delay(code));
  }

  #delay(code) {
    if (code === RESTART) return Math.random() * RESTART_JITTER;
    const longest = Math.min(BACK_OFF.most, BACK_OFF.first * 2 ** (this.#failures + 1));
    this.#failures += 1;
    return longest * (0.5 + Math.random() / 2); // the first one as well: a cut hits many pages at one moment
  }

  #wake() {
    if (!this.#socket) {
      this.#failures = 0;
      this.#show("reconnecting");
      this.open();
    } else if (this.#socket.readyState === WebSocket.OPEN && this.#state !== "connecting") {
      this.#show("live");
      this.#probe(PONG_WITHIN_AWAKE);
    }
  }

  #show(state) {
    if (state === this.#state) return;
    this.#state = state;
    this.#handlers.onState(state);
  }
}
