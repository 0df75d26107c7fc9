/** Collects rectangles and texts by colour and draws each colour in one go: setting a colour costs more than a cell. */

const FONT = "ui-monospace, 'SF Mono', 'DejaVu Sans Mono', Menlo, Consolas, monospace";
const widths = new Map();

/** The font at a height in device pixels. */
export const font = (pixels, weight = "") => `${weight} ${pixels}px ${FONT}`.trim();

/** Width of one character of `font(pixels)`; measured once for each height. */
export function characterWidth(context, pixels) {
  let width = widths.get(pixels);
  if (width === undefined) {
    context.save();
    context.font = font(pixels);
    width = context.measureText("0000000000").width / 10;
    context.restore();
    widths.set(pixels, width);
  }
  return width;
}

export class Brush {
  #rectangles = new Map();
  #texts = new Map();

  rectangle(colour, x, y, width, height) {
    let list = this.#rectangles.get(colour);
    if (!list) this.#rectangles.set(colour, (list = []));
    list.push(x, y, width, height);
  }

  text(colour, align, text, x, y) {
    const style = `${align} ${colour}`;
    let list = this.#texts.get(style);
    if (!list) this.#texts.set(style, (list = []));
    list.push(text, x, y);
  }

  /** Draws and empties the rectangles. */
  fill(context) {
    for (const [colour, list] of this.#rectangles) {
      if (!list.length) continue;
      context.fillStyle = colour;
      for (let n = 0; n < list.length; n += 4) context.fillRect(list[n], list[n + 1], list[n + 2], list[n + 3]);
      list.length = 0;
    }
  }

  /** Draws and empties the texts, centred on their line. */
  write(context, pixels, weight = "") {
    context.font = font(pixels, weight);
    context.textBaseline = "middle";
    for (const [style, list] of this.#texts) {
      if (!list.length) continue;
      const cut = style.indexOf(" ");
      context.textAlign = style.slice(0, cut);
      context.fillStyle = style.slice(cut + 1);
      for (let n = 0; n < list.length; n += 3) context.fillText(list[n], list[n + 1], list[n + 2]);
      list.length = 0;
    }
  }
}
