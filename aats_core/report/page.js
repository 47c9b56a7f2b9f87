"use strict";
(() => {
  const table = document.querySelector("table.tasks");
  const body = table.tBodies[0];
  const rows = [...body.rows];

  function sortBy(column, head) {
    const down = head.getAttribute("aria-sort") === "ascending";
    const number = head.dataset.sort === "number";
    const key = (row) => number ? Number(row.cells[column].dataset.value) : row.cells[column].textContent;
    const order = (a, b) => number ? key(a) - key(b) : key(a).localeCompare(key(b), undefined, { numeric: true });
    rows.sort((a, b) => down ? order(b, a) : order(a, b));
    table.querySelectorAll("th[aria-sort]").forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    body.append(...rows);
  }

  table.querySelectorAll("th[data-sort]").forEach((head, column) => {
    if (head.dataset.sort === "none") return;
    const button = document.createElement("button");
    button.textContent = head.textContent;
    button.addEventListener("click", () => sortBy(column, head));
    head.replaceChildren(button);
  });

  const find = document.createElement("div");
  find.className = "find";
  const words = document.createElement("input");
  words.type = "search";
  words.placeholder = "Find tasks";
  words.setAttribute("aria-label", "Find tasks");
  const state = document.createElement("select");
  state.setAttribute("aria-label", "State");
  state.append(new Option("any state", ""));
  [...new Set(rows.map((row) => row.dataset.state))].sort().forEach((name) => state.append(new Option(name, name)));
  const count = document.createElement("span");
  count.className = "note";
  function show() {
    const wanted = words.value.toLowerCase();
    let shown = 0;
    for (const row of rows) {
      const fits = (!state.value || row.dataset.state === state.value)
        && (!wanted || row.textContent.toLowerCase().includes(wanted));
      row.hidden = !fits;
      shown += fits;
    }
    count.textContent = `${shown} of ${rows.length}`;
  }
  words.addEventListener("input", show);
  state.addEventListener("input", show);
  find.append(words, state, count);
  table.parentElement.before(find);
  show();

  const said = document.createElement("div");
  said.id = "said";
  said.setAttribute("role", "status");
  document.body.append(said);
  document.addEventListener("focusin", (event) => {
    const title = event.target.matches("svg a:focus-visible") && event.target.querySelector("title");
    said.textContent = title ? title.textContent : "";
  });
  document.addEventListener("focusout", () => { said.textContent = ""; });
  window.addEventListener("beforeprint", () => {
    document.querySelectorAll("details.failure, details.output").forEach((part) => { part.open = true; });
  });
})();
