/** Indicators of the key `indicators:<x>:<interval>`: named with their values, and as lines where they are prices. */

import { LineStyle } from "../vendor/lightweight-charts.mjs";
import { element, write } from "./dom.js";
import { price, size } from "./format.js";

const NEAR = 0.2; // of the price: what lies so near is one

export class Indicators {
  #lines = new Map();
  #texts = new Map();
  #values = null;
  shown = false;

  constructor(container, series, palette) {
    this.node = element("div", { className: "readout", hidden: true });
    container.append(this.node);
    this.series = series;
    this.palette = palette;
  }

  /** The key's value; null clears. */
  setValue(value) {
    const candles = value?.candles ?? value?.klines;
    this.#values = candles ? flat(candles.open_values ?? candles.values) : null;
  }

  /** Draws for the newest candle. */
  show(candle) {
    const values = this.shown && candle && this.#values ? this.#values : new Map();
    this.node.hidden = values.size === 0;
    for (const name of [...this.#texts.keys()]) if (!values.has(name)) this.#remove(name);
    for (const [name, value] of values) {
      const isPrice = Math.abs(value / candle.close - 1) < NEAR;
      this.#text(name, isPrice ? price(value, candle.tick) : size(value));
      if (isPrice) this.#line(name, value);
    }
  }

  #text(name, text) {
    if (!this.#texts.has(name)) {
      const made = element("b");
      this.#texts.set(name, made);
      this.node.append(element("span", {}, `${name} `, made));
    }
    write(this.#texts.get(name), text);
  }

  #line(name, value) {
    const options = { price: value, title: name, color: this.palette.accent, lineStyle: LineStyle.Dashed, lineWidth: 1, axisLabelVisible: false };
    if (this.#lines.has(name)) this.#lines.get(name).applyOptions(options);
    else this.#lines.set(name, this.series.createPriceLine(options));
  }

  #remove(name) {
    this.#texts.get(name).parentElement.remove();
    this.#texts.delete(name);
    if (this.#lines.has(name)) this.series.removePriceLine(this.#lines.get(name));
    this.#lines.delete(name);
  }
}

/** Name → number; an indicator of several outputs becomes several. */
function flat(values) {
  const found = new Map();
  for (const [name, value] of Object.entries(values ?? {})) {
    if (typeof value === "number") found.set(name, value);
    else for (const [part, each] of Object.entries(value ?? {})) if (typeof each === "number") found.set(`${name} ${part}`, each);
  }
  return found;
}
