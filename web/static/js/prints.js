/** Trades as a trader reads them: prints of one order put together, small ones left out, and what is large here. */

const PENDING_MAX = 2000;
const LARGE = [5, 15, 40]; // times the usual size
const MEMORY = 0.995; // of the usual size, per print
const WINDOW_US = 60e6;

/** Collects events between two looks at the screen. */
export class Prints {
  #pending = [];
  #usual = 0;
  #sides = []; // [timestamp, buy value, sell value]

  constructor(least) {
    this.least = least;
  }

  /** Goes on from what `earlier` has seen: what is usual here, and who bought. */
  after(earlier) {
    this.#usual = earlier.#usual || this.#usual;
    this.#sides.unshift(...earlier.#sides);
  }

  /** A trade of `feed`; goes into the print before it where that is of the same order. */
  trade(feed, event) {
    const side = event.is_buyer_maker ? "sell" : "buy";
    const last = this.#pending[this.#pending.length - 1];
    if (last && last.feed === feed && last.side === side && last.timestamp === event.timestamp && !last.liquidation) {
      last.quantity += event.quantity;
      last.value += event.value;
      last.price = event.price;
      last.count += event.fills ?? 1;
      return;
    }
    this.#put({ feed, side, timestamp: event.timestamp, price: event.price, quantity: event.quantity, value: event.value, count: event.fills ?? 1 });
  }

  /** A position that was forcibly closed: a long is sold, a short bought back. */
  liquidation(feed, event) {
    this.#put({ feed, side: event.side === "long" ? "sell" : "buy", timestamp: event.timestamp, price: event.price,
      quantity: event.quantity, value: event.value, count: 1, liquidation: event.side, coverage: event.coverage });
  }

  #put(print) {
    this.#pending.push(print);
    if (this.#pending.length > PENDING_MAX) this.#pending.shift();
  }

  /** What has come since the last call and is large enough, oldest first, each with `large` 0 to 3. */
  take() {
    const taken = this.#pending.splice(0);
    for (const print of taken) {
      this.#usual = this.#usual ? this.#usual * MEMORY + print.value * (1 - MEMORY) : print.value;
      print.large = LARGE.filter((times) => print.value >= times * this.#usual).length;
      if (!print.liquidation) this.#sides.push([print.timestamp, print.side === "buy" ? print.value : 0, print.side === "sell" ? print.value : 0]);
    }
    const newest = this.#sides[this.#sides.length - 1]?.[0] ?? 0;
    const old = this.#sides.findIndex(([at]) => at > newest - WINDOW_US);
    if (old > 0) this.#sides.splice(0, old);
    return taken.filter((print) => print.liquidation || print.value >= this.least);
  }

  /** Share of the last minute's value that was bought; a half where there is none. */
  get bought() {
    let [buy, sell] = [0, 0];
    for (const [, bought, sold] of this.#sides) {
      buy += bought;
      sell += sold;
    }
    return buy + sell ? buy / (buy + sell) : 0.5;
  }
}
