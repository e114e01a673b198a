// What every chart of the console shares: its colours and sizes, and when it is drawn anew.
"use strict";

const recallPlots = (() => {
  const HEIGHT = 176;
  const WIDTH_MIN = 240;
  const RESIZED_MS = 150;

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const tone = (name) => colour(`tone-${name}`);
  const width = (place) => Math.max(WIDTH_MIN, place.clientWidth);
  const axis = (more) => ({
    stroke: tone("grey"), grid: { stroke: colour("faint"), width: 1 }, ticks: { stroke: colour("faint") }, ...more,
  });
  const decimals = (digits) => (_, value) => (value === null || value === undefined ? "–" : value.toFixed(digits));

  // Calls `redraw` whenever the window has another width or the page other colours.
  const onNewLook = (redraw) => {
    let waiting = 0;
    window.addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(redraw, RESIZED_MS); });
    document.addEventListener("recall:theme", redraw);
  };

  return { HEIGHT, colour, tone, width, axis, decimals, onNewLook };
})();
