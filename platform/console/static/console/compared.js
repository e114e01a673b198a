// Draws recall of two versions side by side, from the table that both their curves share.
"use strict";

(() => {
  const { HEIGHT, tone, width, axis, decimals, onNewLook } = recallPlots;

  // Both versions of a comparison in one chart: recall against milliseconds, and against effort where it is of one kind.
  const curves = (box) => {
    const rows = [...document.getElementById(box.dataset.compared).querySelectorAll("tr[data-effort]")];
    const labels = [box.dataset.version, box.dataset.to];
    const number = (row, name) => (row.dataset[name] ? Number(row.dataset[name]) : null);
    const points = (x, recall) => rows
      .map((row) => [number(row, x), number(row, recall)])
      .filter(([at, value]) => at !== null && value !== null)
      .sort(([one], [other]) => one - other);
    const effort = new Set(rows.map((row) => row.dataset.name));
    const charts = [
      { title: "Recall against milliseconds", x: "ms", sides: [points("ms", "recall"), points("toMs", "toRecall")], show: decimals(3) },
      ...(effort.size === 1 ? [{ title: "Recall against effort", x: [...effort][0], sides: [points("effort", "recall"), points("effort", "toRecall")], show: decimals(0) }] : []),
    ];
    // One point each is no curve, and the table tells it.
    if (!charts[0].sides.some((side) => side.length > 1)) return () => {};
    const places = charts.map(({ title }) => {
      const outer = document.createElement("div");
      const heading = document.createElement("h3");
      const place = document.createElement("div");
      heading.textContent = title;
      place.className = "chart";
      place.setAttribute("role", "img");
      place.setAttribute("aria-label", `${title} of both versions; the table below has the figures`);
      outer.append(heading, place);
      box.append(outer);
      return place;
    });
    const redraw = () => charts.forEach((chart, i) => {
      places[i].replaceChildren();
      const joined = uPlot.join(chart.sides.map((side) => [side.map(([at]) => at), side.map(([, value]) => value)]));
      new uPlot({
        width: width(places[i]),
        height: HEIGHT + 40,
        scales: { x: { time: false } },
        axes: [axis({ label: chart.x, values: (plot, ticks) => ticks.map((tick) => chart.show(plot, tick)) }), axis({ label: "recall", size: 56, values: (_, t) => t.map((v) => v.toFixed(3)) })],
        series: [
          { label: chart.x, value: chart.show },
          ...labels.map((label, side) => ({ label, stroke: tone(["blue", "amber"][side]), dash: side ? [6, 4] : [], width: 1.5, spanGaps: true, value: decimals(4), points: { show: true, size: 6 } })),
        ],
      }, joined, places[i]);
    });
    redraw();
    return redraw;
  };

  document.addEventListener("DOMContentLoaded", () => {
    const redraws = [...document.querySelectorAll("[data-compared]")].map(curves);
    onNewLook(() => redraws.forEach((redraw) => redraw()));
  });
})();
