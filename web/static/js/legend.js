/** The numbers of the candle under the cursor, else of the newest one. */

import { element, write } from "./dom.js";
import { price, signed, size } from "./format.js";

const FIELDS = ["O", "H", "L", "C", "Vol", "Δ", "Δ min", "Δ max", "CVD", "POC", "VA"];

export class Legend {
  #values = new Map();
  #badge = element("span", { className: "badge", title: "A gap in the trades overlaps this candle", hidden: true }, "gap");

  #coverage = element("span", { className: "coverage", hidden: true, title: "sampled: the exchange tells only some, so every sum is a lower bound" });

  constructor(container) {
    for (const name of FIELDS) {
      const value = element("b", { "data-field": name }, "–");
      this.#values.set(name, value);
      container.append(element("span", {}, `${name} `, value));
    }
    container.append(this.#badge, this.#coverage);
  }

  /** What the liquidation heat map holds: "all", "sampled" or "" for none. */
  cover(coverage) {
    this.#coverage.hidden = !coverage;
    write(this.#coverage, coverage === "sampled" ? "liquidations ≥ (sampled)" : "liquidations: all");
  }

  show(candle) {
    if (!candle) {
      for (const value of this.#values.values()) write(value, "–");
      this.#badge.hidden = true;
      return;
    }
    const at = (value) => price(value, candle.tick);
    const texts = [at(candle.open), at(candle.high), at(candle.low), at(candle.close), size(candle.buy + candle.sell),
      signed(candle.delta), signed(candle.min_delta), signed(candle.max_delta), signed(candle.cvd), at(candle.poc),
      `${at(candle.val)}–${at(candle.vah + candle.row)}`];
    FIELDS.forEach((name, n) => write(this.#values.get(name), texts[n]));
    this.#values.get("Δ").className = candle.delta >= 0 ? "buy" : "sell";
    this.#values.get("C").className = candle.close >= candle.open ? "buy" : "sell";
    this.#badge.hidden = candle.complete;
  }
}
