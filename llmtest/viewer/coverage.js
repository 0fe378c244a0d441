"use strict";
(() => {  // The view of behaviour coverage stands in the page as it is; this shows it in place of the tests. It begins before the page does.
const $ = id => document.getElementById(id), app = $("app"), view = $("coverage"), button = $("covered"), title = document.title;
const here = () => location.hash.startsWith("#coverage"), opened = () => app.dataset.view === "coverage";
function show(on) {
  if (on === opened()) return;
  if (on) app.dataset.view = "coverage"; else delete app.dataset.view;
  button.setAttribute("aria-pressed", on);
  document.title = on ? `${view.dataset.label} · ${title}` : title;
  if (on) view.focus({ preventScroll: true });
}
function follow() {
  show(here());
  if (here()) $(location.hash.slice(1))?.scrollIntoView();
}
addEventListener("hashchange", e => { follow(); if (here()) e.stopImmediatePropagation(); });
addEventListener("keydown", e => {
  if (e.ctrlKey || e.metaKey || e.altKey || e.target.closest("input, select") || $("keys").open) return;
  if (e.key === "b" || (opened() && (e.key === "u" || e.key === "Escape"))) location.hash = opened() ? "" : "coverage";
  else if (!opened() || "t?".includes(e.key)) return;
  e.stopImmediatePropagation();  // the keys of the tests move nothing that is not seen
}, true);
button.textContent = view.dataset.label;
button.hidden = view.hidden = false;
button.onclick = () => { location.hash = opened() ? "" : "coverage"; };
$("home").addEventListener("click", () => show(false));
if (here()) {  // the page takes any other address for that of a test
  const at = location.hash;
  history.replaceState(null, "", "#");
  addEventListener("load", () => { history.replaceState(null, "", at); follow(); });
}
})();
