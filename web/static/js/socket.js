/** One WebSocket for everything live: subscriptions by key, resumed by sequence after a drop. */

const WAIT_MS_MIN = 250;
const WAIT_MS_MAX = 8000;

export class Socket {
  #subscriptions = new Map(); // key → {handlers, sequence}
  #listeners = [];
  #socket = null;
  #wait = WAIT_MS_MIN;
  #timer = 0;
  connected = false;
  /** When the connection was lost (ms); 0 while there is one. */
  lostAt = 0;
  reconnects = 0;
  messages = 0;

  constructor(url) {
    this.url = url;
  }

  open() {
    const socket = new WebSocket(this.url);
    this.#socket = socket;
    socket.onopen = () => {
      this.connected = true;
      this.lostAt = 0;
      this.#wait = WAIT_MS_MIN;
      for (const key of this.#subscriptions.keys()) this.#ask(key);
      this.#tell();
    };
    socket.onmessage = (message) => this.#take(message.data);
    socket.onclose = () => this.#closed(socket);
  }

  /** Calls `handler(value, sequence)` with the key's value now and at each change; returns what ends it. */
  subscribe(key, handler) {
    let entry = this.#subscriptions.get(key);
    if (!entry) {
      entry = { handlers: new Set(), sequence: 0, value: undefined };
      this.#subscriptions.set(key, entry);
      if (this.connected) this.#ask(key);
    } else if (entry.value !== undefined) {
      handler(entry.value, entry.sequence);
    }
    entry.handlers.add(handler);
    return () => {
      entry.handlers.delete(handler);
      if (entry.handlers.size || this.#subscriptions.get(key) !== entry) return;
      this.#subscriptions.delete(key);
      if (this.connected) this.#send({ op: "unsubscribe", keys: [key] });
    };
  }

  listen(listener) {
    this.#listeners.push(listener);
  }

  #ask(key) {
    const { sequence } = this.#subscriptions.get(key);
    this.#send({ op: "subscribe", keys: [key], ...(sequence ? { since: sequence } : {}) });
  }

  #send(message) {
    this.#socket.send(JSON.stringify(message));
  }

  #take(text) {
    const message = JSON.parse(text);
    this.messages += 1;
    const entry = this.#subscriptions.get(message.key);
    if (!entry || !("value" in message)) {
      if (message.error) console.warn("flowtape:", message.error.message);
      return;
    }
    entry.sequence = Math.max(entry.sequence, message.sequence ?? 0);
    if (!/^(md|sig)\./.test(message.key)) entry.value = message.value;
    for (const handler of entry.handlers) handler(message.value, message.sequence);
  }

  #closed(socket) {
    if (this.#socket !== socket) return;
    if (this.connected) this.reconnects += 1;
    this.connected = false;
    this.lostAt ||= Date.now();
    this.#tell();
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.open(), this.#wait * (0.75 + Math.random() / 2));
    this.#wait = Math.min(this.#wait * 2, WAIT_MS_MAX);
  }

  #tell() {
    for (const listener of this.#listeners) listener(this);
  }
}
