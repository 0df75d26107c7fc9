/** The candles of one series, by open time; the newer content of a candle takes the place of the older. */

export const CANDLES_MAX = 6000;

export class Candles {
  #byTime = new Map();
  /** Open times, ascending. */
  times = [];

  get size() {
    return this.times.length;
  }

  get first() {
    return this.#byTime.get(this.times[0]);
  }

  get last() {
    return this.#byTime.get(this.times[this.times.length - 1]);
  }

  at(time) {
    return this.#byTime.get(time);
  }

  *[Symbol.iterator]() {
    for (const time of this.times) yield this.#byTime.get(time);
  }

  /** What became of it: "last" (newest, new or updated), "older" (updated in place), "inserted", or "" (not newer). */
  put(candle) {
    const time = candle.timestamp;
    const held = this.#byTime.get(time);
    if (held && !newer(candle, held)) return "";
    this.#byTime.set(time, candle);
    const last = this.times[this.times.length - 1];
    if (held) return time === last ? "last" : "older";
    if (last === undefined || time > last) {
      this.times.push(time);
      return "last";
    }
    this.times.splice(this.index(time), 0, time);
    return "inserted";
  }

  /** Puts many; true if any of them changed something. */
  putAll(candles) {
    let changed = false;
    for (const candle of candles) changed = this.put(candle) !== "" || changed;
    return changed;
  }

  /** Lets go of the oldest beyond the bound; true if there were any. */
  trim() {
    const excess = this.times.length - CANDLES_MAX;
    if (excess <= 0) return false;
    for (const time of this.times.splice(0, excess + CANDLES_MAX / 10)) this.#byTime.delete(time);
    return true;
  }

  /** Position of the first candle at or after `time`. */
  index(time) {
    let low = 0;
    let high = this.times.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.times[middle] < time) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Those that begin in [from, to). */
  between(from, to) {
    return this.times.slice(this.index(from), this.index(to)).map((time) => this.#byTime.get(time));
  }
}

function newer(candle, held) {
  if (candle.revision !== held.revision) return candle.revision > held.revision;
  const gaps = (candle.gaps_as_of ?? 0) - (held.gaps_as_of ?? 0);
  if (gaps !== 0) return gaps > 0;
  if (candle.closed !== held.closed) return candle.closed;
  return candle.sequence >= held.sequence;
}
