/** Whether what is on screen is now: the `live:` key vanishes when a feed goes silent, the socket when the server does. */

import { clock } from "./format.js";

const SILENT_MS = 4500; // the key lives 3 s and is looked at every second

export class Freshness {
  #seenAt = 0;
  #live = null;
  #lastReceived = 0;
  #gaps = 0; // as last told: silence closes none

  constructor(now) {
    this.now = now;
  }

  /** Another instrument was chosen. */
  reset() {
    this.#seenAt = this.now();
    this.#live = null;
    this.#gaps = this.#lastReceived = 0;
  }

  /** The key's value; null once it has expired. */
  see(value) {
    this.#seenAt = this.now();
    this.#live = value;
    if (!value) return;
    this.#gaps = value.gaps_open;
    this.#lastReceived = Math.max(this.#lastReceived, value.last_received);
  }

  /** `{state, text, why, gaps}`: "waiting", "live", "stale" (feed silent) or "lost" (no server). */
  judge(socket) {
    const gaps = this.#gaps;
    if (!socket.connected) {
      if (!socket.lostAt) return { state: "waiting", text: "connecting", gaps };
      return { state: "lost", text: `stale since ${clock(socket.lostAt * 1000)}`, why: "no connection to the server; trying again", gaps };
    }
    const silent = this.now() - this.#seenAt > SILENT_MS;
    if (this.#live && !silent) return { state: "live", text: "live", gaps };
    if (!this.#lastReceived) return silent ? { state: "stale", text: "no live data", gaps } : { state: "waiting", text: "waiting", gaps };
    return { state: "stale", text: `stale since ${clock(this.#lastReceived)}`, why: "the exchange's feed is silent", gaps };
  }
}
