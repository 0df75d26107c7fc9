/** Price rows of candles and profiles, put together to rows as high as the eye can read. Sizes in base units. */

import { size, signed } from "./format.js";

const IMBALANCE = 3; // 300 %, strictly more; a partner of 0 never (docs/signals.md)
const STACK_MIN = 3;
const VALUE_AREA = 0.7;
export const BUY = 1;
export const SELL = 2;

const cache = new WeakMap();

/** The rows of a candle or profile, each `ticks` high at least; remembered until the object is let go of.
 *
 * Candles of one chart differ in their ticks where an exchange has changed its own, and where a sum has gained a member:
 * what is asked for is a height in ticks of `tick`.
 */
export function rowsOf(candle, ticks, tick = candle.tick) {
  const asked = inTicks(ticks * tick, candle.tick);
  const held = cache.get(candle);
  if (held?.asked === asked) return held;
  const made = group(candle, asked);
  cache.set(candle, made);
  return made;
}

/** Height of its own rows in ticks. */
export const ownTicks = (candle) => inTicks(candle.row, candle.tick);

const inTicks = (height, tick) => Math.max(1, Math.round(height / tick));

function group(candle, asked) {
  const own = ownTicks(candle);
  const begin = candle.prices.length ? Math.round(candle.prices[0] / candle.tick) : 0;
  const ticks = Math.max(asked, own);
  const first = Math.floor(begin / ticks);
  const count = candle.prices.length ? Math.floor((begin + (candle.prices.length - 1) * own) / ticks) - first + 1 : 0;
  const buys = new Float64Array(count);
  const sells = new Float64Array(count);
  for (let n = 0; n < candle.prices.length; n += 1) {
    const row = Math.floor((begin + n * own) / ticks) - first;
    buys[row] += candle.buys[n];
    sells[row] += candle.sells[n];
  }
  return new Rows(candle.tick, asked, ticks, first, buys, sells);
}

/** The sum of several candles or profiles over [their lowest row, their highest row]; ticks are those of the last. */
export function sum(candles, asked) {
  const { tick } = candles[candles.length - 1];
  const ticks = candles.reduce((most, candle) => Math.max(most, inTicks(candle.row, tick)), asked);
  const parts = candles.map((candle) => rowsOf(candle, ticks, tick)).filter((rows) => rows.count);
  if (!parts.length) return null;
  const first = Math.min(...parts.map((rows) => rows.first));
  const count = Math.max(...parts.map((rows) => rows.first + rows.count)) - first;
  const buys = new Float64Array(count);
  const sells = new Float64Array(count);
  for (const rows of parts) {
    for (let n = 0; n < rows.count; n += 1) {
      buys[rows.first - first + n] += rows.buys[n];
      sells[rows.first - first + n] += rows.sells[n];
    }
  }
  return new Rows(tick, asked, ticks, first, buys, sells);
}

/** Contiguous rows; row `n` reaches from `low(n)` to `low(n + 1)`. */
export class Rows {
  #texts = null;
  #marks = null;
  #area = null;

  constructor(tick, asked, ticks, first, buys, sells) {
    Object.assign(this, { tick, asked, ticks, first, buys, sells, count: buys.length });
    this.sideMost = this.totalMost = this.deltaMost = this.total = 0;
    this.poc = 0;
    for (let n = 0; n < this.count; n += 1) {
      const total = buys[n] + sells[n];
      this.total += total;
      this.sideMost = Math.max(this.sideMost, buys[n], sells[n]);
      this.deltaMost = Math.max(this.deltaMost, Math.abs(buys[n] - sells[n]));
      if (total > this.totalMost || (total === this.totalMost && this.#nearer(n, this.poc))) this.poc = n;
      this.totalMost = Math.max(this.totalMost, total);
    }
  }

  #nearer(n, held) {
    const middle = (this.count - 1) / 2;
    return Math.abs(n - middle) < Math.abs(held - middle);
  }

  /** Lower edge of row `n`. */
  low(n) {
    return (this.first + n) * this.ticks * this.tick;
  }

  /** What each cell says, written once: sells, buys, delta and total. */
  get texts() {
    if (!this.#texts) {
      const of = (value) => Array.from({ length: this.count }, (_, n) => value(n));
      this.#texts = {
        sells: of((n) => size(this.sells[n])), buys: of((n) => size(this.buys[n])),
        deltas: of((n) => signed(this.buys[n] - this.sells[n])), totals: of((n) => size(this.buys[n] + this.sells[n])),
      };
    }
    return this.#texts;
  }

  /** Imbalances: per row BUY, SELL or both. */
  get marks() {
    if (!this.#marks) {
      const { buys, sells, count } = this;
      this.#marks = new Uint8Array(count);
      for (let n = 0; n < count; n += 1) {
        if (n > 0 && sells[n - 1] > 0 && over(buys[n], sells[n - 1])) this.#marks[n] |= BUY;
        if (n < count - 1 && buys[n + 1] > 0 && over(sells[n], buys[n + 1])) this.#marks[n] |= SELL;
      }
    }
    return this.#marks;
  }

  /** Runs of imbalances of one side: `{side, from, to}`, rows included. */
  get stacks() {
    const found = [];
    for (const side of [BUY, SELL]) {
      let from = 0;
      for (let n = 0; n <= this.count; n += 1) {
        if (n < this.count && this.marks[n] & side) continue;
        if (n - from >= STACK_MIN) found.push({ side, from, to: n - 1 });
        from = n + 1;
      }
    }
    return found;
  }

  /** The value area as `[first row, last row]`, by pairs of rows around the point of control. */
  get area() {
    return (this.#area ??= this.#valueArea());
  }

  #valueArea() {
    let [low, high] = [this.poc, this.poc];
    if (!this.count) return [0, 0];
    const at = (n) => (n >= 0 && n < this.count ? this.buys[n] + this.sells[n] : 0);
    let held = at(this.poc);
    while (held < VALUE_AREA * this.total * (1 - 1e-12) && (low > 0 || high < this.count - 1)) {
      const above = high < this.count - 1 ? at(high + 1) + at(high + 2) : -1;
      const below = low > 0 ? at(low - 1) + at(low - 2) : -1;
      if (above >= below) high = Math.min(this.count - 1, high + 2);
      else low = Math.max(0, low - 2);
      held += Math.max(above, below);
    }
    return [low, high];
  }
}

const over = (one, other) => one > other * IMBALANCE * (1 + 1e-9);
