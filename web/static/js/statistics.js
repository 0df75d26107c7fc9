/** The table under the candles: volume, delta and their share, one column a candle. */

import { customSeriesDefaultOptions } from "../vendor/lightweight-charts.mjs";
import { Brush, characterWidth, font } from "./brush.js";
import { shade } from "./palette.js";
import { signed, size, tally } from "./format.js";

const TEXT_FROM = 40; // css pixels a bar
const ROWS = [
  { name: "Volume", value: (candle) => candle.buy + candle.sell, text: (candle) => size(candle.buy + candle.sell), colour: () => "muted" },
  { name: "Delta", value: (candle) => candle.delta, text: (candle) => signed(candle.delta), colour: side },
  { name: "Delta %", value: share, text: (candle) => `${(100 * share(candle)).toFixed(0)}%`, colour: side },
  { name: "Trades", value: (candle) => candle.trades, text: (candle) => tally(candle.trades), colour: () => "muted" },
];
export const STATISTICS_HEIGHT = ROWS.length * 16 + 2;

function side(candle) {
  return candle.delta >= 0 ? "buy" : "sell";
}

function share(candle) {
  return candle.delta / (candle.buy + candle.sell || 1);
}

export class StatisticsView {
  #renderer = new StatisticsRenderer();

  renderer() {
    return this.#renderer;
  }

  update(data) {
    this.#renderer.data = data;
  }

  show({ palette }) {
    this.#renderer.palette = palette;
  }

  priceValueBuilder() {
    return [1, 0, 0.5];
  }

  isWhitespace(item) {
    return item.candle === undefined;
  }

  defaultOptions() {
    return { ...customSeriesDefaultOptions, lastValueVisible: false, priceLineVisible: false };
  }
}

class StatisticsRenderer {
  #brush = new Brush();
  data = null;
  palette = null;

  draw(target) {
    if (!this.data?.visibleRange || !this.palette) return;
    target.useBitmapCoordinateSpace((scope) => this.#draw(scope));
  }

  #draw({ context, bitmapSize, horizontalPixelRatio: rx, verticalPixelRatio: ry }) {
    const { bars, barSpacing, visibleRange } = this.data;
    const { palette } = this;
    const from = Math.max(0, Math.floor(visibleRange.from));
    const seen = bars.slice(from, Math.ceil(visibleRange.to));
    const high = bitmapSize.height / ROWS.length;
    const width = Math.max(1, Math.round(barSpacing * rx * 0.92));
    const texts = barSpacing >= TEXT_FROM;
    ROWS.forEach((row, n) => {
      const most = seen.reduce((held, bar) => Math.max(held, Math.abs(row.value(bar.originalData.candle))), 0) || 1;
      for (const { x, originalData: { candle } } of seen) {
        const left = Math.round(x * rx - width / 2);
        const top = Math.round(n * high);
        const shades = palette[`${row.colour(candle)}Shades`];
        this.#brush.rectangle(shades[shade((0.8 * Math.abs(row.value(candle))) / most)], left, top, width, Math.max(1, Math.round((n + 1) * high) - top - ry));
        if (texts) this.#brush.text(palette.text, "center", row.text(candle), left + width / 2, top + high / 2);
      }
    });
    this.#brush.fill(context);
    this.#brush.write(context, Math.round(Math.min(11 * ry, high * 0.72)));
    this.#names(context, palette, rx, ry, high);
  }

  #names(context, palette, rx, ry, high) {
    const pixels = Math.round(Math.min(10 * ry, high * 0.68));
    const width = 8.6 * characterWidth(context, pixels);
    context.fillStyle = palette.background;
    context.globalAlpha = 0.86;
    context.fillRect(0, 0, width, high * ROWS.length);
    context.globalAlpha = 1;
    context.font = font(pixels);
    context.fillStyle = palette.muted;
    context.textAlign = "left";
    context.textBaseline = "middle";
    ROWS.forEach((row, n) => context.fillText(row.name, 6 * rx, n * high + high / 2));
  }
}
