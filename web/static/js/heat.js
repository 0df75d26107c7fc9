/** Liquidations behind the price: where positions were forcibly closed, by time and price. */

import { Overlay } from "./overlay.js";
import { shade } from "./palette.js";

export class Heat {
  #value = null;

  constructor(palette) {
    this.palette = palette;
    this.shown = true;
    this.overlay = new Overlay("bottom", (context, geometry) => this.#draw(context, geometry));
  }

  /** The value of `liquidations:<x>:<range>`: cells `[time, price, long value, short value]`, slot, row, coverage. */
  setValue(value) {
    this.#value = value;
    this.overlay.redraw();
  }

  /** "all", "sampled" (a lower bound), or "" where there is nothing. */
  get coverage() {
    return this.shown && this.#value?.cells.length ? this.#value.coverage : "";
  }

  #draw(context, geometry) {
    const value = this.#value;
    if (!this.shown || !value?.cells.length) return;
    const most = value.cells.reduce((held, [, , long, short]) => Math.max(held, long, short), 0);
    const lengthBars = value.slot / this.barMicros;
    for (const [time, price, long, short] of value.cells) {
      const x = geometry.x(this.barMicros > value.slot ? time - (time % this.barMicros) : time);
      if (x === null) continue;
      const left = x - geometry.spacing / 2;
      const width = Math.max(2, geometry.spacing * Math.max(1, lengthBars));
      const top = geometry.y(price + value.row);
      const height = Math.max(2 * geometry.ry, geometry.y(price) - top);
      if (left > geometry.width || left + width < 0 || top > geometry.height || top + height < 0) continue;
      const half = long && short ? height / 2 : height;
      if (long) {
        context.fillStyle = this.palette.heat.long[shade(long / most)];
        context.fillRect(left, top, width, half);
      }
      if (short) {
        context.fillStyle = this.palette.heat.short[shade(short / most)];
        context.fillRect(left, top + height - half, width, half);
      }
    }
  }

  /** Length of the candles on screen, µs. */
  barMicros = 60e6;
}
