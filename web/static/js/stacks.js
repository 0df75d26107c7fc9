/** Stacked imbalances as zones to the right, until price has gone through them. */

import { Overlay } from "./overlay.js";
import { faded } from "./palette.js";

const ZONES_MAX = 400;

/** `{side, low, high, from, to}` of all stacks, oldest first; `to` is null while the zone holds. */
export function zones(candles) {
  const made = [];
  let open = [];
  for (const candle of candles) {
    for (const zone of open) if (through(zone, candle)) zone.to = candle.timestamp;
    open = open.filter((zone) => zone.to === null);
    for (const { side, low, high } of candle.stacks) {
      const zone = { side, low, high: high + candle.row, from: candle.timestamp, to: null };
      made.push(zone);
      open.push(zone);
    }
    if (open.length > ZONES_MAX) open.shift();
  }
  return made.slice(-ZONES_MAX);
}

const through = (zone, candle) => (zone.side === "buy" ? candle.low < zone.low : candle.high > zone.high);

export class Stacks {
  #zones = [];
  #key = "";

  constructor(palette) {
    this.palette = palette;
    this.shown = true;
    this.overlay = new Overlay("bottom", (context, geometry) => this.#draw(context, geometry));
  }

  /** Looks for zones again where candles have closed, come or changed. */
  see(candles, older) {
    const key = `${candles.size} ${candles.first?.timestamp} ${candles.last?.timestamp} ${candles.last?.stacks.length}`;
    if (key === this.#key && !older) return;
    this.#key = key;
    this.#zones = zones(candles);
  }

  get zones() {
    return this.#zones;
  }

  #draw(context, geometry) {
    if (!this.shown) return;
    const half = geometry.spacing / 2;
    for (const { side, low, high, from, to } of this.#zones) {
      const left = geometry.x(from);
      const right = to === null ? geometry.width : geometry.x(to);
      if (left === null || right === null || right < 0 || left > geometry.width) continue;
      const [top, bottom] = [geometry.y(high), geometry.y(low)];
      if (bottom < 0 || top > geometry.height) continue;
      const colour = side === "buy" ? this.palette.buy : this.palette.sell;
      context.fillStyle = faded(colour, to === null ? 0.16 : 0.07);
      context.fillRect(left - half, top, right - left + half, Math.max(1, bottom - top));
      context.fillStyle = faded(colour, to === null ? 0.7 : 0.3);
      const line = Math.max(1, Math.round(geometry.ry));
      context.fillRect(left - half, Math.round(side === "buy" ? bottom - line : top), right - left + half, line);
    }
  }
}
