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

// A refresh must not close a confirmation that somebody is filling in, and nobody looks at a hidden page.
document.addEventListener("htmx:beforeRequest", (event) => {
  const swapped = event.detail.elt;
  if (!swapped.matches("#status, #progress, #first-call, #compared, #reading")) return;
  if (document.hidden || swapped.querySelector("details.confirm[open], form :focus")) event.preventDefault();
});

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
