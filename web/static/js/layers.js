/** Everything drawn over and under the candles, fed by keys of the chosen instrument. */

import { Bubbles } from "./bubbles.js";
import { Heat } from "./heat.js";
import { Indicators } from "./indicators.js";
import { Profile } from "./profile.js";
import { Stacks } from "./stacks.js";
import { micros } from "./format.js";

const LOCAL = ["visible", "fixed", "off"];
const HEAT_RANGE = "rolling-24h";

export class Layers {
  #ends = [];
  #profileEnd = () => {};
  #tradesEnds = [];
  #visible = null;

  constructor(chart, socket, palette, readout) {
    this.socket = socket;
    this.stacks = new Stacks(palette);
    this.profile = new Profile(palette);
    this.liquidations = new Heat(palette);
    this.trades = new Bubbles(palette);
    this.indicators = new Indicators(readout, chart.footprint, palette);
    this.all = { stacks: this.stacks, profile: this.profile, liquidations: this.liquidations, trades: this.trades };
    for (const layer of [this.liquidations, this.stacks, this.profile, this.trades]) chart.footprint.attachPrimitive(layer.overlay);
  }

  /** Follows another instrument. */
  select({ exchange, symbol, interval, range }) {
    this.end();
    this.where = `${exchange}:${symbol}`;
    this.liquidations.barMicros = this.trades.barMicros = micros(interval);
    this.liquidations.setValue(null);
    this.trades.setItems([]);
    this.indicators.setValue(null);
    this.profile.naked = [];
    this.fixed = null;
    const listen = (key, take) => this.#ends.push(this.socket.subscribe(key, take));
    listen(`liquidations:${this.where}:${HEAT_RANGE}`, (value) => this.liquidations.setValue(value));
    listen(`indicators:${this.where}:${interval}`, (value) => this.indicators.setValue(value));
    listen(`detections:${this.where}:naked_poc`, (value) => { this.profile.naked = standing(value?.items ?? []); });
    this.setRange(range);
  }

  /** Large trades of every feed that the candles are made of. */
  follow(members) {
    for (const end of this.#tradesEnds) end();
    const found = new Map();
    this.#tradesEnds = members.map((member) => this.socket.subscribe(`detections:${member}:large_trade`, (value) => {
      found.set(member, value?.items ?? []);
      this.trades.setItems([...found.values()].flat());
    }));
  }

  setRange(range) {
    this.#profileEnd();
    this.#profileEnd = () => {};
    this.profile.clear();
    this.profile.range = range;
    if (!LOCAL.includes(range)) {
      this.#profileEnd = this.socket.subscribe(`profile:${this.where}:${range}`, (value) => this.profile.setValue(value));
    }
    this.#visible = null;
  }

  show(names) {
    this.indicators.shown = names.includes("indicators");
    for (const [name, layer] of Object.entries(this.all)) {
      layer.shown = names.includes(name);
      layer.overlay.redraw();
    }
  }

  setPalette(palette) {
    for (const layer of [...Object.values(this.all), this.indicators]) layer.palette = palette;
  }

  /** Candles came or changed, or another part of them is seen: `range` are logical positions. */
  see(candles, range, older) {
    this.stacks.see(candles, older);
    this.indicators.show(candles.last);
    if (this.profile.range === "visible" && range && candles.size) {
      const from = Math.max(0, Math.ceil(range.from));
      const to = Math.min(candles.size, Math.floor(range.to) + 1);
      const key = `${from} ${to} ${candles.first.timestamp} ${to === candles.size ? candles.last.sequence : ""}`;
      if (key === this.#visible && !older) return;
      this.#visible = key;
      const seen = candles.times.slice(from, to).map((time) => candles.at(time));
      this.profile.setCandles(seen, candles.times[from], candles.times[to - 1]);
    } else if (this.profile.range === "fixed" && this.fixed) {
      this.profile.setCandles(candles.between(...this.fixed), ...this.fixed);
    }
  }

  /** Profile of [from, to) µs. */
  setFixed(from, to, candles) {
    this.fixed = [from, to];
    this.profile.setCandles(candles.between(from, to), from, to);
  }

  end() {
    this.#profileEnd();
    for (const end of [...this.#ends, ...this.#tradesEnds]) end();
    this.#ends = this.#tradesEnds = [];
  }
}

/** Levels that were opened and not closed. */
function standing(items) {
  const open = new Map();
  for (const item of items) {
    if (item.event === "opened") open.set(item.timestamp, { price: item.price, from: item.timestamp });
    else if (item.event === "closed") open.delete(item.begin);
  }
  return [...open.values()];
}
