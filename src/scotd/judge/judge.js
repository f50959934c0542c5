// Single keys for the page's own buttons, and the seconds for which the page was in sight. Without this script
// everything works by mouse, touch and Tab; only the time is not known.
"use strict";

const box = document.getElementById("keys");
if (box) {
  box.closest("label").hidden = false;
  box.checked = localStorage.getItem("single-keys") !== "off";
  box.addEventListener("change", () => localStorage.setItem("single-keys", box.checked ? "on" : "off"));
}

document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input:not([type=radio]):not([type=checkbox]), textarea, select");
  if (typing || event.ctrlKey || event.metaKey || event.altKey || event.repeat || (box && !box.checked)) return;
  const target = document.querySelector(`[data-key="${CSS.escape(event.key.toLowerCase())}"]`);
  if (target) {
    event.preventDefault();
    target.click();
  }
});

const form = document.getElementById("vote");
if (form) {
  const place = `seconds ${location.pathname} ${form.elements.revision.value}`; // a reload goes on counting
  let before = Number(sessionStorage.getItem(place)) || 0;
  let since = document.hidden ? null : performance.now();
  const seen = () => before + (since === null ? 0 : (performance.now() - since) / 1000);
  document.addEventListener("visibilitychange", () => {
    before = seen();
    since = document.hidden ? null : performance.now();
    sessionStorage.setItem(place, before);
  });
  window.addEventListener("pagehide", () => sessionStorage.setItem(place, seen()));
  form.addEventListener("submit", () => {
    form.elements.seconds.value = seen().toFixed(2);
  });
}
