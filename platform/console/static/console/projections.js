// A sample of a version's items on a plane: coloured by an attribute, and a click (or arrows and Enter) asks for
// the neighbours of an item. The page's tables say the same without it.
//
// <div data-projection="URL of the sample" data-neighbours="URL to ask for ?item=">, and an element #neighbours.
"use strict";

(() => {
  const { colour, width, onNewLook } = recallPlots;
  const HEIGHT_MIN = 300;
  const HEIGHT_MAX = 480;
  const MARGIN = 18;
  const RADIUS = 3;
  // Who points with a finger points less exactly.
  const NEAR_PX = 12;
  const NEAR_FINGER_PX = 28;
  const CATEGORIES_MAX = 6;
  const STEPS_OF_SCALE = 5;
  // Beyond these shares values have the end's colour, so that a single odd one does not use up the scale.
  const [SCALE_LOW, SCALE_HIGH] = [0.02, 0.98];
  const VALUE_CHARACTERS_MAX = 24;
  const VIRIDIS = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];
  // The ends of it that a light page, and a dark one, would swallow.
  const VIRIDIS_PART = { light: [0, 0.85], dark: [0.25, 1] };

  const SHAPES = {
    circle: (ctx, x, y, r) => ctx.arc(x, y, r, 0, 2 * Math.PI),
    square: (ctx, x, y, r) => ctx.rect(x - r, y - r, 2 * r, 2 * r),
    triangle: (ctx, x, y, r) => { ctx.moveTo(x, y - 1.3 * r); ctx.lineTo(x + 1.2 * r, y + r); ctx.lineTo(x - 1.2 * r, y + r); ctx.closePath(); },
    diamond: (ctx, x, y, r) => { ctx.moveTo(x, y - 1.4 * r); ctx.lineTo(x + 1.4 * r, y); ctx.lineTo(x, y + 1.4 * r); ctx.lineTo(x - 1.4 * r, y); ctx.closePath(); },
    bar: (ctx, x, y, r) => ctx.rect(x - 1.5 * r, y - 0.6 * r, 3 * r, 1.2 * r),
    post: (ctx, x, y, r) => ctx.rect(x - 0.6 * r, y - 1.5 * r, 1.2 * r, 3 * r),
  };
  const SHAPE_OF = Object.values(SHAPES);
  const theme = () => (document.documentElement.dataset.bsTheme === "dark" ? "dark" : "light");
  const grey = () => colour("hue-none");
  const hue = (place) => colour(`hue-${place + 1}`);

  const short = (text) => (text.length > VALUE_CHARACTERS_MAX ? `${text.slice(0, VALUE_CHARACTERS_MAX - 1)}…` : text);
  const figure = (value) => (Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(4))));
  const written = (value) => {
    if (value === null) return "null";
    if (Array.isArray(value)) return value.join(", ") || "empty list";
    return typeof value === "number" ? figure(value) : String(value);
  };

  const viridis = (share) => {
    const [from, to] = VIRIDIS_PART[theme()];
    const at = (from + (to - from) * Math.min(1, Math.max(0, share))) * (VIRIDIS.length - 1);
    const low = Math.min(VIRIDIS.length - 2, Math.floor(at));
    const mixed = VIRIDIS[low].map((part, i) => Math.round(part + (VIRIDIS[low + 1][i] - part) * (at - low)));
    return `rgb(${mixed.join(" ")})`;
  };

  const NOTHING = { entries: [], mark: () => ({ fill: hue(0), draw: SHAPES.circle }), has: () => true };
  const missing = () => ({ fill: grey(), draw: SHAPES.circle, small: true });

  // Numbers, as a scale from low to high.
  const scaleOf = (values) => {
    const sorted = values.filter((value) => value !== null).sort((one, other) => one - other);
    const at = (share) => sorted[Math.round(share * (sorted.length - 1))];
    const [low, high] = [at(SCALE_LOW), at(SCALE_HIGH)];
    const shareOf = (value) => (high > low ? (value - low) / (high - low) : 0.5);
    const steps = high > low ? [...Array(STEPS_OF_SCALE).keys()].map((i) => low + ((high - low) * i) / (STEPS_OF_SCALE - 1)) : [low];
    const end = (i) => (i === 0 && sorted[0] < low ? "≤ " : i === steps.length - 1 && sorted.at(-1) > high ? "≥ " : "");
    const entries = steps.map((value, i) => ({ text: end(i) + figure(value), mark: () => ({ fill: viridis(shareOf(value)), draw: SHAPES.circle }) }));
    if (sorted.length < values.length) entries.push({ text: "missing", mark: missing });
    return { entries, mark: (i) => (values[i] === null ? missing() : { fill: viridis(shareOf(values[i])), draw: SHAPES.circle }) };
  };

  // Words, as the most frequent ones and the rest; of a list the first entry gives the colour, and all are found by it.
  const categoriesOf = (values) => {
    const all = (i) => (Array.isArray(values[i]) ? values[i].map(String) : values[i] === null ? [] : [String(values[i])]);
    const counts = new Map();
    values.forEach((_, i) => { const [word] = all(i); if (word !== undefined) counts.set(word, (counts.get(word) || 0) + 1); });
    const words = [...counts.keys()].sort((one, other) => counts.get(other) - counts.get(one) || (one < other ? -1 : 1));
    const top = words.slice(0, CATEGORIES_MAX);
    const place = new Map(top.map((word, i) => [word, i]));
    const markOf = (i) => ({ fill: hue(i), draw: SHAPE_OF[i] });
    const other = () => ({ fill: grey(), draw: SHAPES.square, hollow: true });
    const isList = values.some(Array.isArray);
    const entries = top.map((word, i) => ({ text: short(word) || "(empty)", mark: () => markOf(i), has: (item) => all(item).includes(word) }));
    if (words.length > top.length) entries.push({ text: `${words.length - top.length} others`, mark: other, has: (item) => all(item).length > 0 && !place.has(all(item)[0]) });
    if (values.some((_, i) => !all(i).length)) entries.push({ text: "missing", mark: missing, has: (item) => !all(item).length });
    return {
      entries,
      note: isList ? "by the first entry" : "",
      mark: (i) => { const [word] = all(i); return word === undefined ? missing() : place.has(word) ? markOf(place.get(word)) : other(); },
    };
  };

  const colouring = (column) => {
    const known = column ? column.values.find((value) => value !== null) : undefined;
    if (known === undefined) return NOTHING;
    return typeof known === "number" ? scaleOf(column.values) : categoriesOf(column.values);
  };

  const element = (name, attributes = {}, ...children) => {
    const made = document.createElement(name);
    Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
    made.append(...children);
    return made;
  };

  const drawMark = (ctx, mark, x, y, r) => {
    ctx.beginPath();
    mark.draw(ctx, x, y, mark.small ? 0.7 * r : r);
    ctx.fillStyle = ctx.strokeStyle = mark.fill;
    if (mark.hollow) ctx.stroke(); else ctx.fill();
  };

  const sharp = (canvas, wide, high) => {
    canvas.width = Math.round(wide * devicePixelRatio);
    canvas.height = Math.round(high * devicePixelRatio);
    canvas.style.width = `${wide}px`;
    canvas.style.height = `${high}px`;
    const ctx = canvas.getContext("2d");
    ctx.scale(devicePixelRatio, devicePixelRatio);
    return ctx;
  };

  class Projection {
    constructor(box, told) {
      this.box = box;
      this.told = told;
      this.colours = NOTHING;
      // Entry of the legend that is looked at; item under the pointer or the arrows; item whose neighbours are shown.
      this.only = null;
      this.at = null;
      this.chosen = null;
      this.neighbours = [];
      this.places = new Map(told.ids.map((id, i) => [id, [told.x[i], told.y[i]]]));
      this.build();
      this.recolour();
      onNewLook(() => this.repaint());
    }

    build() {
      const { told, box } = this;
      const columns = told.attributes.filter((column) => column.values.some((value) => value !== null));
      this.select = element("select", { class: "form-select", id: "projection-colour" }, element("option", { value: "" }, "nothing"));
      columns.forEach((column) => this.select.append(element("option", { value: String(told.attributes.indexOf(column)) }, column.name)));
      if (columns.length) this.select.value = String(told.attributes.indexOf(columns[0]));
      this.legend = element("div", { class: "projection-legend", role: "group", "aria-label": "Legend" });
      const label = element("label", { class: "form-label mb-0", for: "projection-colour" }, "Colour by");
      const asks = box.dataset.neighbours ? " Arrow keys walk from item to item, Enter asks for the neighbours, Escape forgets them." : "";
      this.canvas = element("canvas", { tabindex: "0", role: "application", "aria-label": `Projection of ${told.items} items.${asks}` });
      this.said = element("output", { class: "muted", "aria-live": "polite" });
      box.append(element("div", { class: "projection-tools", ...(columns.length ? {} : { hidden: "" }) }, label, this.select, this.legend), this.canvas, this.said);
      this.select.addEventListener("change", () => this.recolour());
      this.canvas.addEventListener("pointermove", (event) => this.point(this.itemAt(event)));
      this.canvas.addEventListener("pointerleave", () => this.point(null));
      this.canvas.addEventListener("click", (event) => { const item = this.itemAt(event); if (item !== null) this.ask(told.ids[item]); });
      this.canvas.addEventListener("keydown", (event) => this.onKey(event));
      this.canvas.addEventListener("focus", () => this.draw());
      this.canvas.addEventListener("blur", () => this.draw());
      // Links to neighbours in the tables of this page lead into the projection instead.
      document.addEventListener("click", (event) => {
        const link = event.target.closest(`a[href^="${box.dataset.neighbours}?"]`);
        if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
        event.preventDefault();
        this.ask(new URL(link.href).searchParams.get("item"));
      });
    }

    recolour() {
      this.only = null;
      this.colours = colouring(this.told.attributes[this.select.value]);
      this.repaint();
    }

    repaint() {
      this.marks = this.told.ids.map((_, i) => this.colours.mark(i));
      this.drawLegend();
      this.draw();
    }

    drawLegend() {
      const shown = this.colours.entries.map((entry) => {
        const sign = element("canvas", { "aria-hidden": "true" });
        drawMark(sharp(sign, 14, 14), entry.mark(), 7, 7, 4.5);
        if (!entry.has) return element("span", { class: "projection-entry" }, sign, entry.text);
        const pressed = String(this.only === entry);
        const button = element("button", { type: "button", class: "btn btn-sm projection-entry", "aria-pressed": pressed }, sign, entry.text);
        button.addEventListener("click", () => { this.only = this.only === entry ? null : entry; this.drawLegend(); this.draw(); });
        return button;
      });
      const held = this.legend.contains(document.activeElement) ? [...this.legend.children].indexOf(document.activeElement) : -1;
      this.legend.replaceChildren(...shown);
      if (this.colours.note) this.legend.append(element("span", { class: "muted" }, this.colours.note));
      if (held >= 0) this.legend.children[held].focus();
    }

    // Both axes have one scale, so that a distance means the same in every direction.
    lay() {
      const xs = [...this.told.x, ...this.neighbours.map(({ place }) => place[0])];
      const ys = [...this.told.y, ...this.neighbours.map(({ place }) => place[1])];
      const [left, right, low, high] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
      this.wide = width(this.box);
      this.high = Math.min(HEIGHT_MAX, Math.max(HEIGHT_MIN, Math.round(0.6 * this.wide)));
      const scale = Math.min((this.wide - 2 * MARGIN) / (right - left || 1), (this.high - 2 * MARGIN) / (high - low || 1));
      this.toPixels = ([x, y]) => [this.wide / 2 + (x - (left + right) / 2) * scale, this.high / 2 - (y - (low + high) / 2) * scale];
      this.pixels = this.told.x.map((x, i) => this.toPixels([x, this.told.y[i]]));
    }

    draw() {
      this.lay();
      const ctx = sharp(this.canvas, this.wide, this.high);
      const dim = this.chosen !== null;
      const isDim = (i) => dim || (this.only && !this.only.has(i));
      const { marks } = this;
      // What has no colour of its own lies below.
      const order = marks.map((_, i) => i).sort((one, other) => this.rank(marks[one], isDim(one)) - this.rank(marks[other], isDim(other)));
      for (const i of order) {
        ctx.globalAlpha = isDim(i) ? 0.25 : 0.85;
        drawMark(ctx, marks[i], ...this.pixels[i], RADIUS);
      }
      ctx.globalAlpha = 1;
      this.drawNeighbours(ctx);
      if (this.at !== null) this.ring(ctx, this.pixels[this.at], 7);
    }

    rank(mark, isDim) {
      return (isDim ? 0 : 4) + (mark.small ? 0 : mark.hollow ? 1 : 2);
    }

    drawNeighbours(ctx) {
      if (this.chosen === null) return;
      const from = this.places.has(this.chosen) ? this.toPixels(this.places.get(this.chosen)) : null;
      const index = new Map(this.told.ids.map((id, i) => [id, i]));
      for (const { id, place } of this.neighbours) {
        const to = this.toPixels(place);
        ctx.strokeStyle = colour("soft");
        if (from) { ctx.beginPath(); ctx.moveTo(...from); ctx.lineTo(...to); ctx.stroke(); }
        const mark = index.has(id) ? this.marks[index.get(id)] : { fill: colour("soft"), draw: SHAPES.circle };
        drawMark(ctx, mark, ...to, RADIUS + 1.5);
        this.ring(ctx, to, RADIUS + 3);
      }
      if (!from) return;
      ctx.fillStyle = colour("ink");
      ctx.beginPath();
      ctx.arc(...from, RADIUS + 3, 0, 2 * Math.PI);
      ctx.fill();
    }

    ring(ctx, [x, y], radius) {
      ctx.save();
      ctx.strokeStyle = colour("ink");
      ctx.lineWidth = 1.5;
      ctx.beginPath();
      ctx.arc(x, y, radius, 0, 2 * Math.PI);
      ctx.stroke();
      ctx.restore();
    }

    nearest(distance, most = Infinity) {
      let [found, least] = [null, most];
      this.pixels.forEach((pixel, i) => { const far = distance(pixel); if (far < least) [found, least] = [i, far]; });
      return found;
    }

    itemAt(event) {
      const { left, top } = this.canvas.getBoundingClientRect();
      const near = matchMedia("(pointer: coarse)").matches ? NEAR_FINGER_PX : NEAR_PX;
      return this.nearest(([x, y]) => Math.hypot(x - (event.clientX - left), y - (event.clientY - top)), near);
    }

    point(item) {
      this.canvas.classList.toggle("on-item", item !== null);
      if (item === this.at) return;
      this.at = item;
      if (item !== null) this.say(this.describe(item));
      this.draw();
    }

    describe(item) {
      const known = this.told.attributes.map(({ name, values }) => `${name} ${written(values[item])}`);
      return [this.told.ids[item], ...known].join(" · ");
    }

    say(text) {
      this.said.textContent = text;
    }

    onKey(event) {
      const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      if (step) this.point(this.towards(step));
      else if ((event.key === "Enter" || event.key === " ") && this.at !== null) this.ask(this.told.ids[this.at]);
      else if (event.key === "Escape") this.forget();
      else return;
      event.preventDefault();
    }

    // The next item in that direction, or this one where there is none; the middle one to begin with.
    towards([dx, dy]) {
      if (this.at === null) return this.nearest(([x, y]) => Math.hypot(x - this.wide / 2, y - this.high / 2));
      const [x0, y0] = this.pixels[this.at];
      const next = this.nearest(([x, y]) => {
        const [along, across] = [(x - x0) * dx + (y - y0) * dy, Math.abs((x - x0) * dy + (y - y0) * dx)];
        return along > 0.01 && across <= along ? along + across : Infinity;
      });
      return next === null ? this.at : next;
    }

    forget() {
      this.chosen = null;
      this.neighbours = [];
      document.getElementById("neighbours").replaceChildren();
      this.draw();
    }

    async ask(id) {
      const url = this.box.dataset.neighbours;
      if (!url) return;
      this.chosen = id;
      this.neighbours = [];
      this.draw();
      const target = document.getElementById("neighbours");
      try {
        const answer = await fetch(`${url}?item=${encodeURIComponent(id)}`, { headers: { "HX-Request": "true" } });
        // Somebody pointed at another one meanwhile.
        if (this.chosen !== id) return;
        if (!answer.ok || answer.redirected) throw new Error(`status ${answer.status}`);
        target.innerHTML = await answer.text();
      } catch {
        if (this.chosen !== id) return;
        target.replaceChildren(element("p", { class: "text-tone tone-red" }, "The neighbours could not be asked for. Reload the page and try again."));
      }
      this.neighbours = [...target.querySelectorAll("tr[data-x]")].map(({ dataset }) => ({ id: dataset.neighbour, place: [Number(dataset.x), Number(dataset.y)] }));
      this.neighbours.forEach(({ id: near, place }) => this.places.set(near, place));
      this.draw();
    }
  }

  const load = async (box) => {
    const answer = await fetch(box.dataset.projection, { headers: { Accept: "application/json" } });
    if (!answer.ok || answer.redirected) throw new Error(`status ${answer.status}`);
    new Projection(box, await answer.json());
    document.querySelectorAll("[data-projection-hint]").forEach((hint) => { hint.hidden = false; });
  };

  document.addEventListener("DOMContentLoaded", () => document.querySelectorAll("[data-projection]").forEach((box) => {
    load(box).catch(() => box.append(element("p", { class: "muted" }, "The projection could not be loaded. Reload the page to try again.")));
  }));
})();
