/** Open interest and funding: samples of another pace, drawn at the candles they fall into. */

import { get } from "./api.js";
import { seconds } from "./chart.js";
import { micros } from "./format.js";

const LIMIT = 5000;
export const SAMPLED = {
  open_interest: { field: "open_interest" },
  funding: { field: "funding_rate" },
};

/** The samples of one instrument for one pane. */
export class Sampled {
  #bySlot = new Map();
  #from = Infinity;
  #abort = new AbortController();
  #end;
  #failed = false;

  constructor(name, chart, socket, { exchange, symbol, interval }) {
    Object.assign(this, { name, chart, exchange, symbol, length: micros(interval) });
    this.#end = socket.subscribe(`md.${name}.${exchange}.${symbol}`, (event) => this.#take(event));
  }

  /** Loads what is missing to the left of what was loaded, and draws. */
  async see(candles) {
    this.candles = candles;
    const from = candles.first?.timestamp;
    if (from === undefined || from >= this.#from || this.#failed) return this.draw();
    const to = this.#from === Infinity ? undefined : this.#from;
    this.#from = from;
    const { name, exchange, symbol } = this;
    try {
      const answer = await get(name, { exchange, symbol, from, to, limit: LIMIT }, this.#abort.signal);
      for (const event of answer[name]) this.#put(event);
    } catch (error) {
      if (error.name === "AbortError") return undefined;
      this.#failed = true; // spot has none; the pane stays empty
    }
    return this.draw();
  }

  draw() {
    const series = this.chart.series(this.name);
    if (!series || !this.candles) return;
    const points = [];
    for (const time of this.candles.times) {
      const sample = this.#bySlot.get(time);
      if (sample) points.push({ time: seconds(time), value: sample.value });
    }
    series.setData(points);
  }

  end() {
    this.#abort.abort();
    this.#end();
  }

  #take(event) {
    this.#put(event);
    this.draw();
  }

  #put(event) {
    const slot = event.timestamp - (event.timestamp % this.length);
    const held = this.#bySlot.get(slot);
    const value = event[SAMPLED[this.name].field];
    if (value !== null && !(held && held.at > event.timestamp)) this.#bySlot.set(slot, { at: event.timestamp, value });
  }
}
