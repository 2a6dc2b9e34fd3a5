"use strict";
document.documentElement.classList.add("live");
for (const controls of document.querySelectorAll("figure .controls")) {
  const compare = controls.parentElement.querySelector(".compare");
  const slider = controls.querySelector("input");
  const flicker = controls.querySelector(".flicker");
  controls.hidden = false;
  slider.addEventListener("input", () => compare.style.setProperty("--share", String(slider.value / 100)));
  flicker.addEventListener("click", () => {
    const on = compare.classList.toggle("flickering");
    flicker.setAttribute("aria-pressed", String(on));
  });
}
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const status = { pass: 0, warn: 1, fail: 2 };
  const key = (row, n) => (n === 0 ? String(status[row.dataset.status]) : row.cells[n].textContent.trim());
  [...table.tHead.rows[0].cells].forEach((head, n) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const missing = (text) => text === "" || text === "n/a";
      const order = (a, b) => {
        const [x, y] = [key(a, n), key(b, n)];
        if (missing(x) || missing(y)) return missing(x) - missing(y);
        const difference = Number(x) - Number(y);
        return (down ? -1 : 1) * (Number.isNaN(difference) ? x.localeCompare(y, "en", { numeric: true }) : difference);
      };
      body.append(...rows.slice().sort(order));
    });
  });
  const controls = document.querySelector(".filters");
  const [text, choice, shown] = ["filter", "status", "shown"].map((id) => document.getElementById(id));
  const filter = () => {
    const wanted = text.value.trim().toLowerCase();
    let count = 0;
    for (const row of rows) {
      const fits = row.textContent.toLowerCase().includes(wanted) && (!choice.value || row.dataset.status === choice.value);
      row.hidden = !fits;
      count += fits;
    }
    shown.textContent = count + " of " + rows.length;
  };
  controls.hidden = false;
  text.addEventListener("input", filter);
  choice.addEventListener("change", filter);
  filter();
}
