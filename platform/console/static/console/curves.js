// Recall against latency, as tune_search measured it: one curve or several in one chart.
//
// <div class="chart" data-curves="ID [ID ...]"> draws what the tables with these ids say, which people read without it.
// A table has data-name (of its curve), data-effort (what the effort is called) and, where there is one, data-target;
// each measured point is a row with data-ms, data-recall, data-effort and, on the chosen one, data-chosen.
"use strict";

(() => {
  const { HEIGHT, colour, tone, width, axis, decimals, onNewLook } = recallPlots;
  const HUES = ["blue", "amber", "green", "red", "grey"];
  const FONT_PX = 11;
  const ROOM_ABOVE = 0.01;

  const read = (table) => ({
    name: table.dataset.name,
    effort: table.dataset.effort,
    target: table.dataset.target ? Number(table.dataset.target) : null,
    points: [...table.querySelectorAll("tr[data-ms]")]
      .map((row) => ({
        ms: Number(row.dataset.ms), recall: Number(row.dataset.recall), effort: row.dataset.effort, chosen: "chosen" in row.dataset,
      }))
      .sort((one, other) => one.ms - other.ms),
  });

  // Curves on one axis of milliseconds: a column of values for each, undefined where another one was measured.
  const joined = (curves) => uPlot.join(curves.map(({ points }) => [points.map((p) => p.ms), points.map((p) => p.recall)]));

  const pointAt = (curve, ms) => curve.points.find((point) => point.ms === ms);

  // From the lowest point or target up to 1, so that the line of a target is always to be seen.
  const range = (curves) => {
    const values = curves.flatMap(({ points, target }) => [...points.map((p) => p.recall), ...(target === null ? [] : [target])]);
    const low = Math.min(...values);
    return [Math.max(0, low - 0.08 * Math.max(1 - low, 0.02)), 1 + ROOM_ABOVE * Math.max(1 - low, 0.02)];
  };

  // Returns where their texts are, at the left end, which a rising curve leaves free.
  const targetLines = (plot, curves) => {
    const { ctx, bbox } = plot;
    const taken = [];
    ctx.setLineDash([6, 4]);
    ctx.strokeStyle = ctx.fillStyle = tone("green");
    ctx.textAlign = "left";
    for (const target of new Set(curves.map((curve) => curve.target).filter((each) => each !== null))) {
      const y = Math.round(plot.valToPos(target, "y", true));
      ctx.beginPath();
      ctx.moveTo(bbox.left, y);
      ctx.lineTo(bbox.left + bbox.width, y);
      ctx.stroke();
      const [text, left, bottom] = [`target ${target}`, bbox.left + 4 * devicePixelRatio, y - 4 * devicePixelRatio];
      ctx.fillText(text, left, bottom);
      taken.push({ left, right: left + ctx.measureText(text).width, top: bottom - FONT_PX * devicePixelRatio, bottom });
    }
    ctx.setLineDash([]);
    return taken;
  };

  // The chosen efforts first; of the others, those whose text still has room.
  const efforts = (plot, curves, taken) => {
    const { ctx, bbox } = plot;
    const near = FONT_PX * devicePixelRatio;
    const all = curves.flatMap((curve, place) => curve.points.map((point) => ({ ...point, name: curve.effort, hue: HUES[place % HUES.length] })));
    for (const point of [...all.filter((p) => p.chosen), ...all.filter((p) => !p.chosen)]) {
      const x = plot.valToPos(point.ms, "x", true);
      const y = plot.valToPos(point.recall, "y", true);
      if (point.chosen) {
        ctx.strokeStyle = tone(point.hue);
        ctx.lineWidth = 2 * devicePixelRatio;
        ctx.beginPath();
        ctx.arc(x, y, 7 * devicePixelRatio, 0, 2 * Math.PI);
        ctx.stroke();
      }
      if (!point.effort) continue;
      const text = point.chosen ? `${point.name} ${point.effort}, chosen` : point.effort;
      const late = x + ctx.measureText(text).width > bbox.left + bbox.width;
      const [left, top] = [late ? x - near - ctx.measureText(text).width : x + near, y + 1.4 * near];
      const box = { left, right: left + ctx.measureText(text).width, top: top - near, bottom: top };
      if (taken.some((other) => box.left < other.right + 4 && box.right + 4 > other.left && box.top < other.bottom && box.bottom > other.top)) continue;
      taken.push(box);
      ctx.fillStyle = point.chosen ? tone(point.hue) : tone("grey");
      ctx.textAlign = "left";
      ctx.fillText(text, left, top);
    }
  };

  const marks = (curves) => ({
    hooks: {
      draw: [(plot) => {
        plot.ctx.save();
        plot.ctx.font = `${FONT_PX * devicePixelRatio}px sans-serif`;
        efforts(plot, curves, targetLines(plot, curves));
        plot.ctx.restore();
      }],
    },
  });

  // Draws `curves` (as `read` returns them) into `place`; a curve of a single point is told by its table alone.
  const draw = (place, curves) => {
    const shown = curves.filter(({ points }) => points.length > 1);
    place.replaceChildren();
    if (!shown.length) return;
    const told = (curve) => (plot, recall, _, at) => {
      if (recall === null || recall === undefined) return "–";
      const { effort } = pointAt(curve, plot.data[0][at]);
      return effort ? `${recall.toFixed(4)} (${curve.effort} ${effort})` : recall.toFixed(4);
    };
    new uPlot({
      width: width(place),
      height: HEIGHT + 64,
      scales: { x: { time: false }, y: { range: () => range(shown) } },
      axes: [
        axis({ label: "milliseconds for a query", values: (_, ticks) => ticks.map((tick) => String(Number(tick.toPrecision(3)))) }),
        axis({ label: "recall", size: 56, values: (_, ticks) => ticks.map((tick) => String(Number(tick.toFixed(4)))) }),
      ],
      series: [
        { label: "ms", value: decimals(3) },
        ...shown.map((curve, i) => ({
          label: curve.name, stroke: tone(HUES[i % HUES.length]), width: 1.5, value: told(curve),
          points: { show: true, size: 6, fill: colour("paper") },
        })),
      ],
      plugins: [marks(shown)],
    }, joined(shown), place);
  };

  // What a place shows, so that a refresh with the same figures draws nothing anew.
  const drawn = new WeakMap();

  const look = (again) => document.querySelectorAll("[data-curves]").forEach((place) => {
    const tables = place.dataset.curves.split(" ").map((id) => document.getElementById(id)).filter(Boolean);
    const curves = tables.map(read);
    const figures = JSON.stringify(curves);
    if (!again && drawn.get(place) === figures) return;
    drawn.set(place, figures);
    draw(place, curves);
  });

  document.addEventListener("DOMContentLoaded", () => {
    look(false);
    onNewLook(() => look(true));
    document.addEventListener("htmx:afterSettle", () => look(false));
  });
})();
