/** The line at the bottom: what is on screen, how old it is, and who made the chart library. */

import { element, write } from "./dom.js";
import { age, clock, whole } from "./format.js";

export class Foot {
  constructor(container) {
    this.at = element("span", { id: "asOf", title: "Exchange time of the newest event on screen, UTC" }, "–");
    this.lag = element("span", { id: "lag", className: "wide", title: "Our clock minus the exchange's time of what is on screen" });
    this.count = element("span", { className: "wide" });
    this.incomplete = element("span", { id: "incomplete", className: "badge", hidden: true });
    this.sequence = element("span", { id: "sequence", className: "wide", title: "Sequence in the log of the last event on screen" });
    container.append(this.at, this.lag, this.count, this.sequence, this.incomplete, element("span", { className: "space" }),
      element("span", { className: "credit" }, "Charts: TradingView Lightweight Charts™ © 2026 TradingView, Inc. ",
        element("a", { href: "https://www.tradingview.com/", target: "_blank", rel: "noopener" }, "tradingview.com")));
  }

  show(candle, candles, socket) {
    write(this.at, `${clock(candle.as_of)} UTC`);
    write(this.lag, `behind ${age((Date.now() * 1000 - candle.as_of) / 1e6)}`);
    write(this.count, `${whole(candles.size)} candles`);
    write(this.sequence, `#${whole(candle.sequence)}${socket.reconnects ? ` · ${socket.reconnects} reconnects` : ""}`);
    let holes = 0;
    for (const each of candles) holes += each.complete ? 0 : 1;
    this.incomplete.hidden = holes === 0;
    write(this.incomplete, holes === 1 ? "1 candle with a gap" : `${holes} candles with gaps`);
  }
}
