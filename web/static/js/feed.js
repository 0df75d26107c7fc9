/** The candles of the chosen instrument: what the API holds, what the socket brings, older ones on demand. */

import { Candles } from "./candles.js";
import { get } from "./api.js";

const PAGE = 200;
const RETRY_MS = 1500;

/** One chosen instrument and interval. `on` has loaded(candles, first), updated(candle, older) and failed(error). */
export class Feed {
  candles = new Candles();
  #next = undefined;
  #busy = false;
  #ended = false;
  #abort = new AbortController();
  #ends = [];
  #waiting = [];
  #loaded = false;

  constructor(socket, { exchange, symbol, interval }, on) {
    Object.assign(this, { exchange, symbol, interval, on });
    const key = `footprint:${exchange}:${symbol}:${interval}`;
    this.#ends = [
      socket.subscribe(key, (candle) => this.#take(candle)),
      socket.subscribe(`${key}:closed`, (candle) => this.#take(candle)),
    ];
    this.#load();
  }

  end() {
    this.#ended = true;
    this.#abort.abort();
    for (const end of this.#ends) end();
  }

  /** Whether there is more to the left. */
  get more() {
    return this.#loaded && this.#next !== null;
  }

  /** Loads the page before the oldest candle; nothing while one is on its way. */
  async older() {
    if (this.#busy || !this.more || this.#ended) return;
    await this.#page(this.#next);
  }

  async #load() {
    await this.#page(undefined);
    if (this.#ended) return;
    if (!this.#loaded) setTimeout(() => this.#ended || this.#load(), RETRY_MS);
  }

  async #page(next) {
    this.#busy = true;
    const { exchange, symbol, interval } = this;
    try {
      const answer = await get("footprint", { exchange, symbol, interval, limit: PAGE, next }, this.#abort.signal);
      this.#next = answer.next;
      this.candles.putAll(answer.candles);
      for (const candle of this.#waiting.splice(0)) this.candles.put(candle);
      const first = !this.#loaded;
      this.#loaded = true;
      this.on.loaded(this.candles, first);
    } catch (error) {
      if (error.name !== "AbortError" && !this.#ended) this.on.failed(error);
    } finally {
      this.#busy = false;
    }
  }

  #take(candle) {
    if (!candle) return;
    if (!this.#loaded) {
      this.#waiting.push(candle);
      if (this.#waiting.length > PAGE) this.#waiting.shift();
      return;
    }
    const what = this.candles.put(candle);
    if (what === "inserted" || (what && this.candles.trim())) this.on.loaded(this.candles, false);
    else if (what) this.on.updated(candle, what === "older");
  }
}
