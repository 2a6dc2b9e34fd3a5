"use strict";
document.documentElement.classList.add("live");
for (const controls of document.querySelectorAll("figure .controls")) {
  const compare = controls.parentElement.querySelector(".compare");
  const slider = controls.querySelector("input");
  const flicker = controls.querySelector(".flicker");
  controls.hidden = false;
  const mix = () => compare.style.setProperty("--share", String(slider.value / 100));
  slider.addEventListener("input", mix);
  mix();
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

const download = (name, address) => {
  const link = Object.assign(document.createElement("a"), { download: name, href: address });
  document.body.append(link);
  link.click();
  link.remove();
};
for (const bar of document.querySelectorAll("figure .save")) {
  const figure = bar.parentElement;
  const images = [...figure.querySelectorAll("img")];
  const name = figure.querySelector("figcaption").id.replace(/-caption$/, "");
  bar.hidden = false;
  bar.addEventListener("click", (event) => {
    const kind = event.target.dataset.kind;
    images.forEach((image, n) => {
      const file = name + (images.length > 1 ? "-" + (n + 1) : "") + "." + kind;
      if (kind === "svg") download(file, image.src);
      if (kind !== "png") return;
      const canvas = document.createElement("canvas");
      [canvas.width, canvas.height] = [image.naturalWidth * 3, image.naturalHeight * 3];
      canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
      download(file, canvas.toDataURL("image/png"));
    });
  });
}
const entries = [...document.querySelectorAll(".contents > li")];
const targets = entries.map((entry) => document.getElementById(decodeURIComponent(entry.querySelector("a").hash.slice(1))));
if (entries.length) {
  const follow = () => {
    const above = targets.map((target) => target !== null && target.getBoundingClientRect().top < window.innerHeight / 3);
    const current = Math.max(above.lastIndexOf(true), 0);
    entries.forEach((entry, n) => {
      entry.classList.toggle("here", n === current);
      if (n === current) entry.querySelector("a").setAttribute("aria-current", "true");
      else entry.querySelector("a").removeAttribute("aria-current");
    });
  };
  let waiting = false;
  document.addEventListener("scroll", () => {
    if (!waiting) requestAnimationFrame(() => { waiting = false; follow(); });
    waiting = true;
  }, { passive: true });
  follow();
}
const storageKey = "bids-alps ratings of " + location.pathname.replace(/[^/]*$/, "");
const read = () => { try { return JSON.parse(localStorage.getItem(storageKey)) || {}; } catch { return {}; } };
for (const box of document.querySelectorAll(".rating")) {
  const run = box.dataset.run;
  const choices = [...box.querySelectorAll("input[type=radio]")];
  const note = box.querySelector("input[type=text]");
  const message = box.querySelector("output");
  const show = () => {
    const stored = read()[run] || {};
    choices.forEach((choice) => { choice.checked = choice.value === stored.rating; });
    note.value = stored.note || "";
  };
  const store = (stored) => {
    const all = read();
    if (stored) all[run] = stored;
    else delete all[run];
    try {
      localStorage.setItem(storageKey, JSON.stringify(all));
      const count = Object.keys(all).length;
      message.textContent = count + (count === 1 ? " run rated" : " runs rated");
    } catch { message.textContent = "This browser cannot store ratings: save them before you leave the page."; }
  };
  const change = () => {
    const rating = (choices.find((choice) => choice.checked) || {}).value;
    if (rating) store({ rating, note: note.value.replace(/\s+/g, " ").trim(), time: new Date().toISOString() });
  };
  box.hidden = false;
  [...choices, note].forEach((input) => input.addEventListener("change", change));
  box.querySelector(".clear").addEventListener("click", () => { store(null); show(); });
  box.querySelector(".export").addEventListener("click", () => {
    change();
    const all = read();
    const rows = Object.keys(all).sort().map((name) => [name, all[name].rating, all[name].note || "n/a", all[name].time].join("\t"));
    const text = ["run\trating\tnote\ttime", ...rows].join("\n") + "\n";
    download("ratings.tsv", "data:text/tab-separated-values;charset=utf-8," + encodeURIComponent(text));
    message.textContent = rows.length + " saved; use with: bids-alps DATA OUT group --ratings ratings.tsv";
  });
  show();
}
