"use strict";
const byId = (id) => document.getElementById(id);
const rows = [...document.querySelectorAll("#targets tbody tr")];
function show() {
  const words = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const mechanism = byId("mechanism").value, outcome = byId("outcome").value, family = byId("columns").value;
  let count = 0;
  for (const row of rows) {
    const fits = words.every((word) => row.dataset.text.includes(word))
      && (!mechanism || row.dataset.mechanism === mechanism) && (!outcome || row.dataset.outcome === outcome);
    row.hidden = !fits;
    count += fits;
  }
  byId("shown").textContent = `${count} of ${rows.length} targets`;
  for (const cell of document.querySelectorAll(".family")) cell.hidden = family !== "";
  for (const cell of document.querySelectorAll(".claim")) cell.hidden = cell.dataset.family !== family;
  // The address keeps the filter, so that it can be passed on.
  const kept = new URLSearchParams(Object.entries({q: words.join(" "), mechanism, outcome, columns: family}).filter(([, v]) => v));
  history.replaceState(null, "", kept.size ? `#${kept}` : location.pathname + location.search);
}
const given = new URLSearchParams(location.hash.slice(1));
byId("search").value = given.get("q") ?? "";
for (const id of ["mechanism", "outcome", "columns"]) byId(id).value = given.get(id) ?? "";
for (const id of ["search", "mechanism", "outcome", "columns"]) byId(id).addEventListener("input", show);
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && document.activeElement !== byId("search")) { event.preventDefault(); byId("search").focus(); }
});
show();
