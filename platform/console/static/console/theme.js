// Light or dark: what was chosen here, else what the system says. Loaded before anything is drawn, so nothing flashes.
"use strict";

(() => {
  const KEY = "recall-theme";
  const CHOICES = ["system", "light", "dark"];
  const system = matchMedia("(prefers-color-scheme: dark)");
  const chosen = () => (CHOICES.includes(localStorage.getItem(KEY)) ? localStorage.getItem(KEY) : "system");

  const apply = () => {
    const dark = chosen() === "dark" || (chosen() === "system" && system.matches);
    document.documentElement.dataset.bsTheme = dark ? "dark" : "light";
    document.dispatchEvent(new CustomEvent("recall:theme"));
  };

  const tell = (button) => {
    button.hidden = false;
    button.dataset.choice = chosen();
    button.setAttribute("aria-label", `Colours: ${chosen()}. Change`);
    button.title = `Colours: ${chosen()}`;
  };

  apply();
  system.addEventListener("change", apply);
  document.addEventListener("DOMContentLoaded", () => {
    const button = document.querySelector("[data-theme-button]");
    if (!button) return;
    tell(button);
    button.addEventListener("click", () => {
      localStorage.setItem(KEY, CHOICES[(CHOICES.indexOf(chosen()) + 1) % CHOICES.length]);
      apply();
      tell(button);
    });
  });
})();
