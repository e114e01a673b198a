// Draws a service's traffic over time, with each switch of its live version.
"use strict";

(() => {
  const { HEIGHT, tone, width, axis, decimals, onNewLook } = recallPlots;
  const POLL_MS = 10000;
  const DAY = 86400;

  const bytes = (value) => {
    if (value === null) return "–";
    return value < 1e9 ? `${(value / 1e6).toFixed(value < 1e8 ? 1 : 0)} MB` : `${(value / 1e9).toFixed(1)} GB`;
  };
  const age = (value) => {
    if (value === null) return "–";
    if (value < 3600) return `${Math.round(value / 60)} min`;
    return value < 2 * DAY ? `${(value / 3600).toFixed(1)} h` : `${(value / DAY).toFixed(1)} d`;
  };

  // Switches of the live version, as lines across every chart of the service.
  const switchLines = (told) => ({
    hooks: {
      draw: [(plot) => {
        const { ctx, bbox } = plot;
        ctx.save();
        ctx.setLineDash([4, 4]);
        ctx.font = `${11 * devicePixelRatio}px sans-serif`;
        told().switches.forEach((change, place) => {
          const x = Math.round(plot.valToPos(change.at, "x", true));
          if (x < bbox.left || x > bbox.left + bbox.width) return;
          ctx.strokeStyle = ctx.fillStyle = change.kind === "rollback" ? tone("red") : tone("blue");
          ctx.beginPath();
          ctx.moveTo(x, bbox.top);
          ctx.lineTo(x, bbox.top + bbox.height);
          ctx.stroke();
          const late = x > bbox.left + bbox.width - 40 * devicePixelRatio;
          ctx.textAlign = late ? "right" : "left";
          // Switches that follow closely are told one below the other.
          const line = 12 * (1 + (place % 3)) * devicePixelRatio;
          ctx.fillText(`v${change.to_version}`, x + (late ? -4 : 4), bbox.top + line);
        });
        ctx.restore();
      }],
    },
  });

  // Steps of an axis that people count in: megabytes, and minutes, hours and days.
  const MEGABYTES = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 5e4].map((n) => n * 1e6);
  const TIMES = [60, 300, 600, 1800, 3600, 2 * 3600, 4 * 3600, 12 * 3600, DAY, 2 * DAY, 7 * DAY, 30 * DAY, 365 * DAY];

  const DASHED = [6, 4];
  const always = (told, value) => (value === null ? null : told.at.map(() => value));
  const fromZero = (_, low, high) => [0, high > 0 ? high * 1.1 : 1];
  // What is below 1 is what is looked at.
  const recallRange = (_, low) => (low === null ? [0, 1] : [Math.max(0, low - 0.2 * Math.max(1 - low, 0.01)), 1 + 0.1 * Math.max(1 - low, 0.01)]);

  // One entry for each chart: its title, its lines as (label, colour, values), and how its figures are written.
  const CHARTS = [
    { title: "Queries a second", lines: (t) => [["QPS", "blue", t.queries_per_second]], show: decimals(1) },
    { title: "Latency at the gateways, ms", lines: (t) => [["p50", "green", t.p50_ms], ["p95", "amber", t.p95_ms], ["p99", "red", t.p99_ms]], show: decimals(2) },
    { title: "Calls a second that ended otherwise", lines: (t) => Object.entries(t.errors).map(([code, values], i) => [code, ["red", "amber", "blue", "green", "grey"][i % 5], values]), show: decimals(2) },
    { title: "Recall of the live version", lines: (t) => [["recall", "blue", t.recall], ["target", "green", always(t, t.recall_target), DASHED], ["least", "red", always(t, t.recall_min), DASHED]].filter(([, , values]) => values), show: decimals(3), size: 56, range: recallRange },
    { title: "Memory of its replicas", lines: (t) => [["memory", "blue", t.memory_bytes]], show: (_, v) => bytes(v), size: 64, incrs: MEGABYTES },
    { title: "Age of the live version", lines: (t) => [["age", "blue", t.age_seconds]], show: (_, v) => age(v), size: 56, incrs: TIMES },
  ];

  const draw = (place, chart, told) => {
    const lines = chart.lines(told());
    // Limits alone say nothing.
    if (!lines.some(([, , values, limit]) => !limit && values.some((value) => value !== null && value !== 0))) {
      const nothing = document.createElement("p");
      nothing.className = "muted";
      nothing.textContent = "Nothing in this time.";
      place.append(nothing);
      return null;
    }
    const utc = (seconds) => new Date(seconds * 1000).toISOString().slice(11, 16);
    return new uPlot({
      width: width(place),
      height: HEIGHT,
      cursor: { sync: { key: "traffic" } },
      scales: { x: { time: true }, y: { range: chart.range || fromZero } },
      axes: [
        axis({ values: (_, ticks) => ticks.map(utc) }),
        axis({ size: chart.size || 50, ...(chart.incrs && { incrs: chart.incrs }), values: (plot, ticks) => ticks.map((tick) => chart.show(plot, tick)) }),
      ],
      series: [
        { label: "UTC", value: (_, seconds) => (seconds === null ? "–" : utc(seconds)) },
        ...lines.map(([label, hue, , dash]) => ({ label, stroke: tone(hue), width: 1.5, dash, value: chart.show, points: { show: false } })),
      ],
      plugins: [switchLines(told)],
    }, [told().at, ...lines.map(([, , values]) => values)], place);
  };

  const traffic = (box) => {
    let hours = 1;
    let told = null;
    const ranges = document.querySelector('[data-ranges="traffic"]');
    const places = CHARTS.map((chart) => {
      const outer = document.createElement("div");
      const title = document.createElement("h3");
      const place = document.createElement("div");
      title.textContent = chart.title;
      place.className = "chart";
      outer.append(title, place);
      box.append(outer);
      return place;
    });
    const redraw = () => {
      if (told) CHARTS.forEach((chart, i) => { places[i].replaceChildren(); draw(places[i], chart, () => told); });
    };
    const load = async () => {
      const asked = hours;
      const answer = await fetch(`${box.dataset.traffic}?hours=${asked}`, { headers: { Accept: "application/json" } });
      // Signed out, or the service is gone: what is drawn stays, and nobody asks again.
      if (answer.redirected || [401, 403, 404].includes(answer.status)) return clearInterval(timer);
      // A console that restarts is asked again in the next round.
      if (!answer.ok) return;
      const figures = await answer.json();
      // A late answer must not take the place of what was chosen meanwhile.
      if (asked !== hours) return;
      told = figures;
      redraw();
    };
    const quietly = () => load().catch(() => { /* The console is away for a moment; the next round asks again. */ });
    const timer = setInterval(() => { if (!document.hidden && !box.matches(":hover")) quietly(); }, POLL_MS);
    ranges.hidden = false;
    ranges.addEventListener("click", (event) => {
      const button = event.target.closest("[data-hours]");
      if (!button) return;
      hours = Number(button.dataset.hours);
      ranges.querySelectorAll("button").forEach((each) => each.setAttribute("aria-pressed", String(each === button)));
      quietly();
    });
    quietly();
    return redraw;
  };

  document.addEventListener("DOMContentLoaded", () => {
    const redraws = [...document.querySelectorAll("[data-traffic]")].map(traffic);
    onNewLook(() => redraws.forEach((redraw) => redraw()));
  });
})();
