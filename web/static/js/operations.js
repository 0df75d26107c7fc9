/** The operations view: what runs, what lags, what is missing. Asks the API every few seconds while it is seen. */

import { button, element } from "./dom.js";
import { age, bytes, moment, whole } from "./format.js";
import { get, post } from "./api.js";
import { completeness } from "./completeness.js";

const EVERY_MS = 2000;
const SLOW_EVERY = 5; // gaps, completeness and letters: every fifth time
const LETTERS = 20;
const GAPS = 200;
const DAY_US = 86400e6;

export class Operations {
  #timer = 0;
  #turn = 0;
  #before = null;
  #panels = {};

  constructor(container) {
    this.container = container;
    for (const [name, title] of Object.entries(PANELS)) {
      const body = element("div", { className: "body" });
      this.#panels[name] = body;
      container.append(element("article", { className: "panel", "data-panel": name }, element("h2", {}, title), body));
    }
  }

  show(seen) {
    clearTimeout(this.#timer);
    if (!seen) return;
    this.#turn = 0;
    this.#look();
  }

  async #look() {
    const slow = this.#turn % SLOW_EVERY === 0;
    this.#turn += 1;
    await Promise.all([this.#part(["summary", "servers", "streams", "tables", "workers"], () => this.#health()),
      this.#part(["feeds"], () => this.#feeds()),
      ...(slow ? [this.#part(["gaps"], () => this.#gaps()), this.#part(["completeness"], () => this.#complete()),
        this.#part(["letters"], () => this.#letters())] : [])]);
    if (!this.container.hidden) this.#timer = setTimeout(() => this.#look(), EVERY_MS);
  }

  /** A part that cannot be had says why and leaves the others alone. */
  async #part(names, show) {
    try {
      await show();
    } catch (error) {
      if (error.status === undefined) throw error;
      for (const name of names) this.#panels[name].replaceChildren(element("p", { className: "hint" }, error.message));
    }
  }

  async #health() {
    const now = await get("health");
    const before = this.#before;
    this.#before = now;
    const seconds = before ? (now.as_of - before.as_of) / 1e6 : 0;
    const rate = (name) => (seconds > 0 ? Math.max(0, (now.tables[name] - (before.tables[name] ?? 0)) / seconds) : null);
    const workers = Object.entries(now.workers).sort(([one], [other]) => one.localeCompare(other));
    const total = (field) => workers.reduce((sum, [, worker]) => sum + (worker[field] ?? 0), 0);
    const rows = Object.keys(now.tables).reduce((sum, name) => sum + (rate(name) ?? 0), 0);
    const used = Object.values(now.streams).reduce((sum, stream) => sum + stream.bytes, 0);
    this.#put("summary", tiles([
      ["State", now.ok ? "all well" : `${now.problems.length} problems`, now.ok ? "good" : "bad"],
      ["Rows a second", seconds > 0 ? whole(rows) : "…"], ["Lag of tables", whole(now.lag), now.lag > 10000 ? "bad" : ""],
      ["Reconnects", whole(total("reconnects"))], ["Bad frames", whole(total("bad_frames")), total("bad_frames") ? "warn" : ""],
      ["Dead letters", whole(now.dead_letters), now.dead_letters ? "warn" : ""], ["Log on disk", bytes(used)],
    ]), ...now.problems.map((problem) => element("p", { className: "problem" }, problem)));
    this.#put("servers", table(["Server", "State", "Address"], Object.entries(now.servers).map(([name, server]) =>
      [name, mark(server.alive === false ? "down" : server.embedded ? "up" : "external", server.alive !== false), server.url])));
    this.#put("streams", table(["Stream", "Messages", "On disk", "Limit", "Last sequence"], Object.entries(now.streams).map(([name, stream]) =>
      [name, whole(stream.messages), bytes(stream.bytes), stream.max_bytes > 0 ? meter(stream.bytes / stream.max_bytes, bytes(stream.max_bytes)) : "–", whole(stream.last_sequence)])));
    this.#put("tables", table(["Table", "Rows", "Rows a second", "Lag", "Unacknowledged"], Object.entries(now.tables).map(([name, count]) => {
      const consumer = now.consumers[`questdb-${name}`];
      const each = rate(name);
      return [now.suspended.includes(name) ? mark(`${name} suspended`, false) : name, whole(count), each === null ? "…" : each.toFixed(1), consumer ? whole(consumer.lag) : "–", consumer ? whole(consumer.unacknowledged) : "–"];
    })));
    this.#put("workers", table(["Worker", "Heard", "State", "Reconnects", "Waiting", "Spool"], workers.map(([name, worker]) =>
      [name, mark(age(worker.age_s), worker.age_s < 10), worker.state ?? (worker.connections ? `${worker.connected} of ${worker.connections} connected` : "running"),
        whole(worker.reconnects ?? 0), whole(worker.outbox?.waiting ?? 0), bytes(worker.outbox?.spool_bytes ?? 0)])));
  }

  async #feeds() {
    const answer = await get("feeds");
    const channels = [...new Set(answer.feeds.map((feed) => feed.channel))].sort();
    const byPlace = new Map();
    for (const feed of answer.feeds) {
      const place = `${feed.exchange} ${feed.symbol}`;
      byPlace.set(place, { ...byPlace.get(place), [feed.channel]: feed.received });
    }
    this.#put("feeds", table(["Feed", ...channels], [...byPlace].sort().map(([place, ages]) =>
      [place, ...channels.map((channel) => (ages[channel] === undefined ? "" : fresh((answer.as_of - ages[channel]) / 1e6, channel)))])));
  }

  async #gaps() {
    const { gaps } = await get("gaps", { from: Date.now() * 1000 - DAY_US, limit: GAPS });
    const open = gaps.filter((gap) => gap.status === "open");
    const rest = gaps.filter((gap) => gap.status !== "open").reverse();
    this.#put("gaps", gaps.length ? table(["Status", "Feed", "Channel", "From", "Length", "Missing", "Filled", "Cause"], [...open, ...rest].slice(0, 60).map((gap) =>
      [mark(gap.status, gap.status !== "open" && gap.status !== "unfillable"), `${gap.exchange} ${gap.symbol}`, gap.channel, moment(gap.from_timestamp),
        age((gap.to_timestamp - gap.from_timestamp) / 1e6), gap.expected === null ? "?" : whole(gap.expected), whole(gap.filled), gap.cause]))
      : element("p", { className: "hint" }, "No gaps in the last day."));
  }

  async #complete() {
    const { completeness: slots } = await get("completeness", { from: Date.now() * 1000 - DAY_US, limit: 10000 });
    this.#put("completeness", slots.length ? completeness(slots) : element("p", { className: "hint" }, "No audit in the last day: flowtape audit."));
  }

  async #letters() {
    const { letters } = await get("dead", { limit: LETTERS });
    this.#put("letters", letters.length ? element("div", {}, ...letters.map((letter) => this.#letter(letter)))
      : element("p", { className: "hint" }, "No dead letters."));
  }

  #letter(letter) {
    const said = element("span", { className: "hint" });
    const again = button("Requeue", "Put its event into the log again", async () => {
      again.disabled = true;
      try {
        const { subject, sequence } = await post("dead/requeue", { sequence: letter.sequence });
        said.textContent = `in ${subject} as ${sequence}`;
      } catch (error) {
        said.textContent = error.message;
        again.disabled = false;
      }
    });
    return element("details", { className: "letter" },
      element("summary", {}, `#${letter.sequence} ${letter.kind} ${letter.exchange}`, element("span", {}, letter.reason)),
      element("pre", {}, letter.data), element("p", {}, element("span", { className: "hint" }, `${letter.origin} · ${bytes(letter.bytes)}`), again, said));
  }

  /** New content; what is open or scrolled inside letters stays while nothing new came. */
  #put(name, ...content) {
    const body = this.#panels[name];
    if (name === "letters" && body.querySelector("details[open]")) return;
    const { scrollTop, scrollLeft } = body;
    body.replaceChildren(...content);
    Object.assign(body, { scrollTop, scrollLeft });
  }
}

const PANELS = {
  summary: "Now", feeds: "Age of the last event", completeness: "Completeness by hour", gaps: "Gaps of the last day", streams: "Streams",
  tables: "Tables", workers: "Workers", servers: "Servers", letters: "Dead letters",
};

function tiles(list) {
  return element("div", { className: "tiles" }, ...list.map(([name, text, kind = ""]) =>
    element("div", { className: `tile ${kind}` }, element("b", {}, text), element("span", {}, name))));
}

function table(heads, rows) {
  const cell = (tag, content) => element(tag, {}, content instanceof Node ? content : String(content));
  return element("table", {}, element("thead", {}, element("tr", {}, ...heads.map((head) => cell("th", head)))),
    element("tbody", {}, ...rows.map((row) => element("tr", {}, ...row.map((content) => cell("td", content))))));
}

const mark = (text, good) => element("span", { className: good ? "good" : "bad" }, text);

function meter(share, text) {
  const bar = element("i");
  bar.style.width = `${Math.min(100, 100 * share).toFixed(1)}%`;
  return element("span", { className: `meter ${share > 0.9 ? "warn" : ""}`, title: `${(100 * share).toFixed(1)} %` }, bar, element("span", {}, text));
}

/** An age, coloured by what is usual for its channel. */
function fresh(seconds, channel) {
  const usual = { trades: 10, books: 10, klines: 90, open_interest: 150, funding: 150 }[channel] ?? 3600;
  return element("span", { className: seconds < usual ? "good" : seconds < 6 * usual ? "warn" : "bad" }, age(seconds));
}

