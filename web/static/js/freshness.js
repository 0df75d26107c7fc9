/** Whether what is on screen is now: a `live:` key vanishes when its feed goes silent, the socket when the server does. */

import { clock } from "./format.js";

const SILENT_MS = 4500; // the key lives 3 s and is looked at every second

export class Freshness {
  #since = 0;
  #feeds = new Map(); // member → what was heard of it
  #ends = [];

  constructor(now) {
    this.now = now;
  }

  /** Follows the feeds that what is shown is made of: one, or the members of a sum. */
  follow(socket, members) {
    for (const end of this.#ends) end();
    this.#since = this.now();
    this.#feeds = new Map(members.map((member) => [member, { seenAt: this.#since, told: false, live: false, received: 0, gaps: 0 }]));
    this.#ends = members.map((member) => socket.subscribe(`live:${member}`, (value) => this.see(member, value)));
  }

  /** The key's value; null once it has expired. */
  see(member, value) {
    const feed = this.#feeds.get(member);
    if (!feed) return;
    feed.seenAt = this.now();
    feed.told = true;
    feed.live = Boolean(value);
    if (!value) return; // silence closes no gap
    feed.gaps = value.gaps_open;
    feed.received = Math.max(feed.received, value.last_received);
  }

  /** `{state, text, why, gaps}`: "waiting", "live", "partly" (some feeds silent), "stale" (all) or "lost" (no server). */
  judge(socket) {
    const feeds = [...this.#feeds];
    const gaps = feeds.reduce((sum, [, feed]) => sum + feed.gaps, 0);
    if (!socket.connected) {
      if (!socket.lostAt) return { state: "waiting", text: "connecting", gaps };
      return { state: "lost", text: `stale since ${clock(socket.lostAt * 1000)}`, why: "no connection to the server; trying again", gaps };
    }
    const silent = feeds.filter(([, { live, seenAt }]) => !live || this.#old(seenAt));
    if (feeds.length && !silent.length) return { state: "live", text: "live", gaps };
    const received = Math.max(0, ...feeds.map(([, feed]) => feed.received));
    if (silent.length < feeds.length) {
      if (!silent.some(([, feed]) => feed.told || this.#old(this.#since))) return { state: "live", text: "live", gaps };
      const why = `silent: ${silent.map(([member]) => member).join(", ")}`;
      return { state: "partly", text: `${feeds.length - silent.length} of ${feeds.length} live`, why, gaps };
    }
    if (received) return { state: "stale", text: `stale since ${clock(received)}`, why: "the exchange's feed is silent", gaps };
    const all = feeds.length && feeds.every(([, { told }]) => told);
    if (all || this.#old(this.#since)) return { state: "stale", text: "no live data", gaps };
    return { state: "waiting", text: "waiting", gaps };
  }

  #old(at) {
    return this.now() - at > SILENT_MS;
  }
}
