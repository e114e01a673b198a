// The little that pages need beside htmx: copying a secret, and keeping an open confirmation open.
"use strict";

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const text = document.querySelector(button.dataset.copy).textContent;
  navigator.clipboard.writeText(text).then(() => { button.textContent = "Copied"; });
});

// A refresh must not close a confirmation that somebody is filling in.
document.addEventListener("htmx:beforeRequest", (event) => {
  const swapped = event.detail.elt;
  if (swapped.matches("#status, #progress") && swapped.querySelector("details.confirm[open], form :focus")) {
    event.preventDefault();
  }
});
