/** The footprint series: cells where there is room, plain candles where there is not, and everything in between. */

import { customSeriesDefaultOptions } from "../vendor/lightweight-charts.mjs";
import { Brush, characterWidth } from "./brush.js";
import { BUY, SELL, ownTicks, rowsOf } from "./rows.js";
import { shade } from "./palette.js";

const CELLS_FROM = 14; // css pixels a bar: cells begin to show
const CELLS_FULL = 32; // and are all there is
const TEXT_FROM = 46;
const TEXT_PIXELS_MIN = 8;
const TEXT_PIXELS_MAX = 12;
const ROW_PIXELS_TEXT = 10; // least height of a row with text, css pixels
const ROW_PIXELS = 3;
const ROW_FACTOR_MAX = 1 << 16;

const clamp = (value) => Math.min(1, Math.max(0, value));
const smooth = (value) => value * value * (3 - 2 * value);
const between = (from, to, share) => from + (to - from) * share;

/** What Lightweight Charts asks of a custom series. Items are `{time, candle}`. */
export class FootprintView {
  #renderer = new FootprintRenderer();

  renderer() {
    return this.#renderer;
  }

  update(data) {
    this.#renderer.data = data;
  }

  /** Colours, what the cells show, rows put together (0: as the eye needs). Not options: those are merged deeply. */
  show(look) {
    this.#renderer.look = { ...this.#renderer.look, ...look };
  }

  priceValueBuilder({ candle }) {
    return [candle.high, candle.low, candle.close];
  }

  isWhitespace(item) {
    return item.candle === undefined;
  }

  defaultOptions() {
    return customSeriesDefaultOptions;
  }

  /** Height of the drawn rows in ticks, and how much of each candle is cells (0 to 1); for legend and tests. */
  get drawn() {
    return this.#renderer.drawn;
  }
}

class FootprintRenderer {
  #brush = new Brush();
  #bold = new Brush();
  data = null;
  look = { palette: null, mode: "cells", row: 0 };
  drawn = { ticks: 1, cells: 0, texts: 0, bars: 0 };

  draw(target, toY) {
    const { data, look } = this;
    if (!data?.visibleRange || !look.palette) return;
    target.useBitmapCoordinateSpace((scope) => this.#draw(scope, toY, data, look));
  }

  #draw({ context, bitmapSize, horizontalPixelRatio: rx, verticalPixelRatio: ry }, toY, data, look) {
    const { bars, barSpacing, visibleRange } = data;
    const cells = smooth(clamp((barSpacing - CELLS_FROM) / (CELLS_FULL - CELLS_FROM)));
    const from = Math.max(0, Math.floor(visibleRange.from));
    const to = Math.min(bars.length, Math.ceil(visibleRange.to));
    this.drawn = { ticks: 1, cells, texts: 0, bars: to - from };
    if (to <= from) return;
    const newest = bars[to - 1].originalData.candle;
    const wide = barSpacing >= TEXT_FROM;
    const ticks = rowTicks(newest, toY, look.row, wide ? ROW_PIXELS_TEXT : ROW_PIXELS);
    this.drawn.ticks = ticks;
    const scene = { context, rx, ry, toY, cells, palette: look.palette, mode: look.mode, ticks, tick: newest.tick,
      spacing: barSpacing * rx, bottom: bitmapSize.height, texts: null };
    scene.texts = wide ? textSize(scene, newest) : null;
    for (let n = from; n < to; n += 1) this.#bar(scene, bars[n].x * rx, bars[n].originalData.candle);
    this.#brush.fill(context);
    if (scene.texts) {
      this.#brush.write(context, scene.texts.pixels);
      this.#bold.write(context, scene.texts.pixels, "bold");
    }
  }

  #bar(scene, x, candle) {
    const { toY, ry, palette, cells, spacing } = scene;
    const y = (price) => toY(price) * ry;
    const width = Math.max(1, Math.round(spacing * 0.88));
    const left = Math.round(x - width / 2);
    const thin = Math.max(2, Math.round(spacing * 0.035));
    const body = Math.max(1, Math.round(between(Math.max(1, spacing * 0.72), thin, cells)));
    const middle = between(x, left + body / 2, cells);
    if (!candle.complete) this.#gap(scene, left, width, candle);
    if (cells > 0) this.#cells(scene, Math.round(middle + body / 2 + 1), left + width, candle);
    const colour = candle.close >= candle.open ? palette.up : palette.down;
    const wick = Math.max(1, Math.round(Math.min(scene.rx, body)));
    const [high, low] = [y(candle.high), y(candle.low)];
    this.#brush.rectangle(colour, Math.round(middle - wick / 2), Math.round(high), wick, Math.max(1, Math.round(low - high)));
    const [top, bottom] = [y(Math.max(candle.open, candle.close)), y(Math.min(candle.open, candle.close))];
    this.#brush.rectangle(colour, Math.round(middle - body / 2), Math.round(top), body, Math.max(1, Math.round(bottom - top)));
  }

  /** A candle with a hole in its trades: a tinted column, and a badge where it can be seen. */
  #gap({ palette, bottom, ry }, left, width) {
    this.#brush.rectangle(palette.gap, left, 0, width, bottom);
    const high = Math.round(4 * ry);
    this.#brush.rectangle(palette.warn, left, bottom - high, width, high);
  }

  #cells(scene, left, right, candle) {
    const { palette, mode, ticks, tick, toY, ry, cells } = scene;
    const rows = rowsOf(candle, ticks, tick);
    if (!rows.count || right <= left) return;
    const bottom = toY(rows.low(0)) * ry;
    const step = (bottom - toY(rows.low(rows.count)) * ry) / rows.count;
    const space = step > 4 * ry ? Math.max(1, Math.round(ry)) : 0;
    const place = { left, right, middle: Math.round((left + right) / 2), step, bottom, space };
    scene.context.globalAlpha = 1;
    const draw = mode === "cells" ? this.#sides : mode === "delta" ? this.#delta : this.#volume;
    const text = scene.texts && step >= scene.texts.pixels ? scene.texts : null;
    for (let n = 0; n < rows.count; n += 1) {
      const top = Math.round(bottom - (n + 1) * step);
      const high = Math.max(1, Math.round(bottom - n * step) - top - space);
      draw.call(this, scene, rows, n, place, top, high, text);
    }
    if (cells > 0.5) this.#frame(scene, rows, place, candle);
  }

  #sides(scene, rows, n, { left, right, middle }, top, high, text) {
    const { palette } = scene;
    const [buy, sell, mark] = [rows.buys[n], rows.sells[n], rows.marks[n]];
    if (sell > 0) {
      const colour = mark & SELL ? palette.sellShades : palette.sellFaint;
      this.#brush.rectangle(colour[shade(sell / rows.sideMost)], left, top, middle - left - 1, high);
    }
    if (buy > 0) {
      const colour = mark & BUY ? palette.buyShades : palette.buyFaint;
      this.#brush.rectangle(colour[shade(buy / rows.sideMost)], middle, top, right - middle, high);
    }
    if (!text) return;
    const [low, up] = rows.area;
    const plain = n >= low && n <= up ? palette.text : palette.muted;
    const line = top + high / 2 + text.shift;
    this.drawn.texts += 2;
    (mark & SELL ? this.#bold : this.#brush).text(mark & SELL ? palette.sellText : plain, "right", rows.texts.sells[n], middle - text.pad, line);
    (mark & BUY ? this.#bold : this.#brush).text(mark & BUY ? palette.buyText : plain, "left", rows.texts.buys[n], middle + text.pad, line);
  }

  #delta({ palette }, rows, n, { left, right, middle }, top, high, text) {
    const delta = rows.buys[n] - rows.sells[n];
    const colours = delta >= 0 ? palette.buyShades : palette.sellShades;
    if (delta !== 0) this.#brush.rectangle(colours[shade(Math.abs(delta) / rows.deltaMost)], left, top, right - left, high);
    if (!text) return;
    this.drawn.texts += 1;
    this.#brush.text(palette.text, "center", rows.texts.deltas[n], middle, top + high / 2 + text.shift);
  }

  #volume({ palette }, rows, n, { left, right }, top, high, text) {
    const [low, up] = rows.area;
    const inside = n >= low && n <= up;
    const scale = (right - left) / rows.totalMost;
    const sells = Math.round(rows.sells[n] * scale);
    const all = Math.round((rows.buys[n] + rows.sells[n]) * scale);
    const strength = inside ? 7 : 2;
    this.#brush.rectangle(palette.sellShades[strength], left, top, sells, high);
    this.#brush.rectangle(palette.buyShades[strength], left + sells, top, all - sells, high);
    if (!text) return;
    this.drawn.texts += 1;
    this.#brush.text(inside ? palette.text : palette.muted, "left", rows.texts.totals[n], left + text.pad, top + high / 2 + text.shift);
  }

  /** Point of control, value area, and auctions that have not finished. */
  #frame({ palette, rx, ry }, rows, { left, right, step, bottom, space }, candle) {
    const line = Math.max(1, Math.round(rx));
    const top = Math.round(bottom - (rows.poc + 1) * step);
    const high = Math.max(2, Math.round(bottom - rows.poc * step) - top - space);
    this.#brush.rectangle(palette.poc, left, top, right - left, line);
    this.#brush.rectangle(palette.poc, left, top + high - line, right - left, line);
    this.#brush.rectangle(palette.poc, left, top, line, high);
    this.#brush.rectangle(palette.poc, right - line, top, line, high);
    const [low, up] = rows.area;
    const areaTop = Math.round(bottom - (up + 1) * step);
    const areaBottom = Math.round(bottom - low * step);
    this.#brush.rectangle(palette.area, right + line, areaTop, line, areaBottom - areaTop - space);
    const dash = Math.max(2, Math.round(4 * rx));
    const ends = [];
    if (candle.unfinished.high) ends.push(Math.round(bottom - rows.count * step) - 2 * ry);
    if (candle.unfinished.low) ends.push(Math.round(bottom) + ry);
    for (const y of ends) {
      for (let x = left; x < right; x += 2 * dash) this.#brush.rectangle(palette.unfinished, x, y, Math.min(dash, right - x), Math.max(1, Math.round(ry)));
    }
  }
}

/** Height of a drawn row: the chosen multiple of the candle's own, or the least power of two the eye can part. */
function rowTicks(candle, toY, chosen, pixels) {
  const own = ownTicks(candle);
  if (chosen) return own * chosen;
  const height = Math.abs(toY(candle.low) - toY(candle.low + candle.row));
  let factor = 1;
  while (height * factor < pixels && factor < ROW_FACTOR_MAX) factor *= 2;
  return own * factor;
}

/** Size of the text that fits a cell of this scene; null where none does. */
function textSize({ context, ry, toY, ticks, spacing, mode }, candle) {
  const step = Math.abs(toY(candle.low) - toY(candle.low + ticks * candle.tick)) * ry;
  let pixels = Math.floor(Math.min(TEXT_PIXELS_MAX * ry, step - ry));
  const characters = mode === "cells" ? 11 : 6;
  while (pixels >= TEXT_PIXELS_MIN * ry && characters * characterWidth(context, pixels) > spacing * 0.86) pixels -= 1;
  if (pixels < TEXT_PIXELS_MIN * ry) return null;
  return { pixels, pad: Math.round(characterWidth(context, pixels) * 0.5), shift: Math.round(pixels * 0.06) };
}
