/** Volume by price at the right edge, or beside a stretch of time that was dragged. */

import { Overlay } from "./overlay.js";
import { faded } from "./palette.js";
import { ownTicks, rowsOf, sum } from "./rows.js";

const WIDTH_MOST = 190; // css pixels
const WIDTH_SHARE = 0.2;
const ROW_PIXELS = 2;
const FACTOR_MAX = 1 << 16;

/** What is shown: a key's value, or candles put together here. */
export class Profile {
  #value = null;
  #rows = null; // made of candles
  #candles = null;
  #from = 0;
  #to = 0;
  range = "session";

  constructor(palette) {
    this.palette = palette;
    this.shown = true;
    /** `{price, from}` of points of control that price has not come back to. */
    this.naked = [];
    this.overlay = new Overlay("bottom", (context, geometry) => this.#draw(context, geometry));
  }

  /** The value of `profile:<x>:<range>`; null for none. */
  setValue(value) {
    this.#value = value?.prices?.length ? value : null;
    this.overlay.redraw();
  }

  /** Candles whose sum is shown, in [from, to) µs. */
  setCandles(candles, from, to) {
    this.#candles = candles;
    this.#from = from;
    this.#to = to;
    this.#rows = null;
    this.overlay.redraw();
  }

  clear() {
    this.#value = this.#candles = this.#rows = null;
  }

  /** What is drawn, for the legend and for tests: `{poc, vah, val, buy, sell}`; null for nothing. */
  get summary() {
    const local = this.range === "visible" || this.range === "fixed";
    if (!local) return this.#value && pick(this.#value);
    const rows = this.#candles?.length ? sum(this.#candles, 1) : null;
    if (!rows) return null;
    const [low, high] = rows.area;
    return {
      poc: rows.low(rows.poc), val: rows.low(low), vah: rows.low(high), row: rows.ticks * rows.tick,
      buy: rows.buys.reduce((a, b) => a + b, 0), sell: rows.sells.reduce((a, b) => a + b, 0),
    };
  }

  #draw(context, geometry) {
    if (!this.shown || this.range === "off") return;
    this.#nakedLines(context, geometry);
    const rows = this.#current(geometry);
    if (!rows?.count || !rows.totalMost) return;
    const width = Math.min(WIDTH_MOST * geometry.rx, geometry.width * WIDTH_SHARE);
    const fixed = this.range === "fixed" ? this.#stretch(context, geometry) : null;
    const place = fixed ?? { right: geometry.width, toRight: false };
    this.#bars(context, geometry, rows, width, place);
    this.#levels(context, geometry, rows, place, width);
    if (!fixed) this.#nodes(context, geometry);
  }

  #current(geometry) {
    const local = this.range === "visible" || this.range === "fixed";
    if (!local) return this.#value && rowsOf(this.#value, ticksFor(this.#value, geometry));
    if (!this.#candles?.length) return null;
    const ticks = ticksFor(this.#candles[this.#candles.length - 1], geometry);
    if (this.#rows?.asked !== ticks) this.#rows = sum(this.#candles, ticks);
    return this.#rows;
  }

  /** The dragged stretch as a shade; the profile grows to the right from its left edge. */
  #stretch(context, geometry) {
    const half = geometry.spacing / 2;
    const first = geometry.x(this.#candles[0].timestamp);
    const last = geometry.x(this.#candles[this.#candles.length - 1].timestamp);
    if (first === null || last === null) return null;
    context.fillStyle = faded(this.palette.accent, 0.07);
    context.fillRect(first - half, 0, last - first + 2 * half, geometry.height);
    context.fillStyle = faded(this.palette.accent, 0.5);
    for (const x of [first - half, last + half]) context.fillRect(Math.round(x), 0, Math.max(1, geometry.rx), geometry.height);
    return { left: first - half, right: last + half, toRight: true };
  }

  #bars(context, geometry, rows, width, { left, right, toRight }) {
    const [low, high] = rows.area;
    const { palette } = this;
    const bottom = geometry.y(rows.low(0));
    const step = (bottom - geometry.y(rows.low(rows.count))) / rows.count;
    const space = step >= 3 * geometry.ry ? Math.round(geometry.ry) : 0;
    const scale = width / rows.totalMost;
    for (const [inside, shade] of [[false, 0.28], [true, 0.55]]) {
      for (const [side, colour] of [["sells", palette.sell], ["buys", palette.buy]]) {
        context.fillStyle = faded(colour, shade);
        for (let n = 0; n < rows.count; n += 1) {
          if ((n >= low && n <= high) !== inside) continue;
          const top = Math.round(bottom - (n + 1) * step);
          const height = Math.max(1, Math.round(bottom - n * step) - top - space);
          if (top + height < 0 || top > geometry.height) continue;
          const sold = rows.sells[n] * scale;
          const long = side === "sells" ? sold : rows.buys[n] * scale;
          const before = side === "sells" ? 0 : sold;
          context.fillRect(toRight ? left + before : right - before - long, top, long, height);
        }
      }
    }
  }

  #levels(context, geometry, rows, place, width) {
    const [low, high] = rows.area;
    const middle = (n) => geometry.y(rows.low(n + 0.5));
    const [from, to] = place.toRight ? [place.left, place.right] : [0, place.right];
    line(context, this.palette.poc, from, to, middle(rows.poc), geometry, place.toRight ? 0.9 : 0.4, []);
    const inner = place.toRight ? [place.left, place.right] : [place.right - 1.25 * width, place.right];
    for (const price of [rows.low(low), rows.low(high + 1)]) line(context, this.palette.text, ...inner, geometry.y(price), geometry, 0.45, [4, 3]);
  }

  /** High and low volume nodes where the value names them, as marks at the price scale. */
  #nodes(context, geometry) {
    const value = this.#value;
    if (this.range === "visible" || !value) return;
    for (const [name, colour] of [["hvn", this.palette.accent], ["lvn", this.palette.muted]]) {
      for (const price of value[name] ?? []) {
        const y = geometry.y(price + value.row / 2);
        context.fillStyle = colour;
        context.beginPath();
        context.moveTo(geometry.width - 6 * geometry.rx, y);
        context.lineTo(geometry.width, y - 3 * geometry.ry);
        context.lineTo(geometry.width, y + 3 * geometry.ry);
        context.fill();
      }
    }
  }

  #nakedLines(context, geometry) {
    for (const { price, from } of this.naked) {
      const x = geometry.x(from) ?? 0;
      line(context, this.palette.poc, x, geometry.width, geometry.y(price), geometry, 0.5, [2, 4]);
    }
  }
}

const pick = ({ poc, vah, val, row, buy, sell }) => ({ poc, vah, val, row, buy, sell });

function ticksFor(candle, geometry) {
  const height = geometry.pixels(candle.prices[0], candle.prices[0] + candle.row);
  let factor = 1;
  while (height * factor < ROW_PIXELS * geometry.ry && factor < FACTOR_MAX) factor *= 2;
  return ownTicks(candle) * factor;
}

function line(context, colour, from, to, y, { rx, ry }, alpha, dash) {
  context.save();
  context.strokeStyle = faded(colour, alpha);
  context.lineWidth = Math.max(1, Math.round(ry));
  context.setLineDash(dash.map((each) => each * rx));
  context.beginPath();
  context.moveTo(from, Math.round(y) + 0.5);
  context.lineTo(to, Math.round(y) + 0.5);
  context.stroke();
  context.restore();
}
