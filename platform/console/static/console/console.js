// The little that pages need beside htmx: copying, search by keyboard, and not losing what somebody is filling in.
"use strict";

// A button copies what its data-copy selects or, when that is empty, what stands before it. Without https a browser has
// no clipboard to write to; then the text is selected and copied as a person would.
const copied = (source) => {
  if (navigator.clipboard) return navigator.clipboard.writeText(source.textContent);
  getSelection().selectAllChildren(source);
  return document.execCommand("copy") ? Promise.resolve() : Promise.reject(new Error("the browser refused"));
};

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const source = button.dataset.copy ? document.querySelector(button.dataset.copy) : button.previousElementSibling;
  const tell = (text) => {
    button.textContent = text;
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  };
  copied(source).then(() => tell("Copied"), () => tell("Select it and press Ctrl-C"));
});

// A second press on a form that is under way does not send it again.
document.addEventListener("submit", (event) => {
  if (event.defaultPrevented || event.target.method !== "post") return;
  if (event.target.dataset.sent) event.preventDefault();
  event.target.dataset.sent = "yes";
});
window.addEventListener("pageshow", () => document.querySelectorAll("form[data-sent]").forEach((form) => delete form.dataset.sent));

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  const open = document.querySelector("td details.confirm[open]");
  if (open) { open.open = false; open.querySelector("summary").focus(); }
});

// A panel lies above the page, so that the keyboard stays in it until it is closed.
document.addEventListener("keydown", (event) => {
  const open = event.key === "Tab" && document.querySelector("td details.confirm[open]");
  if (!open) return;
  const stops = [...open.querySelectorAll("summary, a[href], button, input:not([type=hidden]), select, textarea")];
  const next = stops.indexOf(document.activeElement) + (event.shiftKey ? -1 : 1);
  event.preventDefault();
  stops[(next + stops.length) % stops.length].focus();
});

// Parts that refresh themselves, the head of a service's page with them. A refresh must not take what somebody is
// filling in, nor close what they are reading, nor lose the place where the keyboard is; and nobody looks at a hidden page.
(() => {
  const PARTS = "#status, #progress, #first-call, #compared, #reading";
  const STOPS = "a[href], button, summary, input, select, textarea, [tabindex]";
  const isTyped = (field) => !field.matches("[type=hidden], [type=checkbox]") && field.value !== field.defaultValue;
  const isFilledIn = (part) => Boolean(part.querySelector("details.confirm[open], form :focus"))
    || [...part.querySelectorAll("input, textarea")].some(isTyped);
  const isInUse = (part) => [part, ...document.querySelectorAll("[data-refreshed]")].some(isFilledIn);
  const summaryOf = (details) => details.querySelector("summary").textContent.trim();
  const nameOf = (stop) => `${stop.tagName} ${stop.textContent.trim()}`;

  let before = null;
  document.addEventListener("htmx:beforeRequest", (event) => {
    const part = event.detail.elt;
    if (part.matches(PARTS) && (document.hidden || isInUse(part))) event.preventDefault();
  });
  document.addEventListener("htmx:beforeSwap", (event) => {
    const part = event.detail.target;
    if (!part || !part.matches(PARTS)) return;
    // It may have been opened while the answer was on its way.
    if (isInUse(part)) { event.detail.shouldSwap = false; return; }
    before = {
      id: part.id,
      open: [...part.querySelectorAll("details[open]")].map(summaryOf),
      scrolled: [...part.querySelectorAll(".log")].map((log) => log.scrollTop),
      stop: part.contains(document.activeElement) ? nameOf(document.activeElement) : null,
    };
  });
  document.addEventListener("htmx:afterSwap", () => {
    const part = before && document.getElementById(before.id);
    if (!part) return;
    for (const details of part.querySelectorAll("details")) if (before.open.includes(summaryOf(details))) details.open = true;
    [...part.querySelectorAll(".log")].forEach((log, place) => { log.scrollTop = before.scrolled[place] ?? 0; });
    const stop = before.stop && [...part.querySelectorAll(STOPS)].find((each) => nameOf(each) === before.stop);
    if (stop && document.activeElement !== stop) stop.focus({ preventScroll: true });
    before = null;
  });
})();

// What changed, in one sentence, for who hears the page: said by a region that stays, when a part says another one.
document.addEventListener("htmx:afterSettle", () => {
  const told = document.getElementById("told");
  const said = document.querySelector("[data-tell]")?.dataset.tell;
  if (told && said && told.textContent !== said) told.textContent = said;
});

// What was asked and not answered is said, or the old answer would be taken for the new one's.
(() => {
  const tell = (text) => {
    const trouble = document.getElementById("trouble");
    if (trouble) trouble.textContent = text;
  };
  const old = "What you see may be old; it is asked for again, or press again.";
  document.addEventListener("htmx:responseError", (event) => tell(`The console answered with an error (${event.detail.xhr.status}). ${old}`));
  document.addEventListener("htmx:sendError", () => tell(`The console does not answer. ${old}`));
  document.addEventListener("htmx:afterRequest", (event) => { if (event.detail.successful) tell(""); });
})();

// "/" goes to the search from anywhere but a field; arrows walk through what was found; Escape leaves.
document.addEventListener("keydown", (event) => {
  const field = document.getElementById("search");
  if (!field || event.ctrlKey || event.metaKey || event.altKey) return;
  const form = field.form;
  if (event.key === "/" && !event.target.closest("input, textarea, select, [contenteditable]")) {
    event.preventDefault();
    field.select();
    field.focus();
  } else if (event.key === "Escape" && form.contains(event.target)) {
    document.getElementById("found").replaceChildren();
    field.blur();
  } else if (["ArrowDown", "ArrowUp"].includes(event.key) && form.contains(event.target)) {
    const stops = [field, ...form.querySelectorAll("#found a")];
    const next = stops[stops.indexOf(document.activeElement) + (event.key === "ArrowDown" ? 1 : -1)];
    if (next) { event.preventDefault(); next.focus(); }
  }
});

document.addEventListener("focusout", (event) => {
  const found = document.getElementById("found");
  const form = event.target.closest("form[role=search]");
  if (found && form && event.relatedTarget && !form.contains(event.relatedTarget)) found.replaceChildren();
});
