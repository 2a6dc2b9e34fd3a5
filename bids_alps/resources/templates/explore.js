{
  const store = document.getElementById("explore-data");
  if (store) explore(JSON.parse(store.textContent));
}
function explore(data) {
  const COLORS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f", "#f0e442", "#332288", "#882255", "#44aa99", "#999933"];
  const STATUS = { pass: "#009e73", warn: "#e69f00", fail: "#d55e00" };
  const find = (id) => document.getElementById("explore-" + id);
  const [family, color, panels] = ["family", "color", "panels"].map(find);
  const labels = data.runs.map((run) => run.label);
  const median = (values) => {
    const sorted = [...values].sort((a, b) => a - b);
    const half = sorted.length >> 1;
    return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
  };
  const outliersOf = (values) => {
    const finite = values.filter((value) => value !== null);
    if (finite.length < 8) return [];
    const center = median(finite);
    const spread = 1.4826 * median(finite.map((value) => Math.abs(value - center)));
    if (!(spread > 0)) return [];
    const far = (n) => (values[n] === null ? 0 : Math.abs(values[n] - center) / spread);
    return values.map((_, n) => n).filter((n) => far(n) > 4).sort((a, b) => far(b) - far(a));
  };
  const colorPoints = () => {
    const values = data.colors[color.value] || labels.map(() => "runs");
    const levels = [...new Set(values)].sort();
    const categorical = values.every((value) => typeof value === "string");
    const own = (level, n) => STATUS[level] || COLORS[n % COLORS.length];
    const legend = find("legend");
    legend.replaceChildren();
    if (!categorical) return { color: values, colorscale: "Cividis", showscale: true, colorbar: { title: { text: color.value } } };
    levels.forEach((level, n) => {
      const entry = document.createElement("li");
      const dot = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      dot.setAttribute("viewBox", "0 0 10 10");
      dot.setAttribute("aria-hidden", "true");
      const circle = document.createElementNS("http://www.w3.org/2000/svg", "circle");
      Object.entries({ cx: 5, cy: 5, r: 5, fill: own(level, n) }).forEach(([key, value]) => circle.setAttribute(key, value));
      dot.append(circle);
      entry.append(dot, " " + level + " (" + values.filter((value) => value === level).length + ")");
      legend.append(entry);
    });
    return { color: values.map((value) => own(value, levels.indexOf(value))) };
  };
  const jitter = labels.map((_, n) => ((n * 0.618034) % 1) - 0.5);
  let selected = null;
  const showSelection = () => {
    const indices = selected ? [...selected].sort((a, b) => a - b) : [];
    find("selected").value = indices.map((n) => labels[n]).join("\n");
    find("count").textContent = indices.length ? "(" + indices.length + ")" : "(none)";
  };
  const list = (measures) => {
    const place = find("outliers");
    place.replaceChildren();
    for (const [name, values] of Object.entries(measures)) {
      for (const n of outliersOf(values).slice(0, 10)) {
        const entry = document.createElement("li");
        const link = document.createElement(data.runs[n].href ? "a" : "span");
        if (data.runs[n].href) link.href = data.runs[n].href;
        link.textContent = labels[n];
        entry.append(link, ": " + name + " " + values[n]);
        place.append(entry);
      }
    }
    if (!place.children.length) place.append(Object.assign(document.createElement("li"), { textContent: "None in these measures." }));
  };
  const wrapped = (name) => {
    const at = name.length > 20 ? name.indexOf(" ", Math.floor(name.length / 3)) : -1;
    return at < 0 ? name : name.slice(0, at) + "<br>" + name.slice(at + 1);
  };
  const draw = () => {
    const measures = data.families[family.value];
    const names = Object.keys(measures);
    const columns = Math.max(1, Math.min(names.length, Math.floor(panels.clientWidth / 190)));
    const rows = Math.ceil(names.length / columns);
    const style = getComputedStyle(document.body);
    const [ink, line] = [style.color, style.getPropertyValue("--line")];
    const marker = { ...colorPoints(), size: labels.length > 300 ? 4 : 6, opacity: 0.8 };
    // a finger scrolls the page; a mouse selects
    const layout = {
      height: 60 + 230 * rows, margin: { l: 8, r: marker.showscale ? 80 : 8, t: 30, b: 10 }, showlegend: false, hovermode: "closest", dragmode: matchMedia("(pointer: coarse)").matches ? false : "select",
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: ink, size: 11 }, annotations: [],
      modebar: { bgcolor: "rgba(0,0,0,0)", color: ink, activecolor: ink },
    };
    const traces = names.map((name, n) => {
      const [column, row, end] = [n % columns, Math.floor(n / columns), n ? n + 1 : ""];
      const [left, top] = [column / columns, 1 - row / rows];
      const domain = [left + 0.045, left + 1 / columns - 0.012];
      layout["xaxis" + end] = { domain, anchor: "y" + end, visible: false, range: [-0.8, 0.8] };
      layout["yaxis" + end] = { domain: [top - (1 / rows) * 0.9, top - (1 / rows) * 0.17], anchor: "x" + end, gridcolor: line, zeroline: false, automargin: false, tickfont: { size: 9 } };
      layout.annotations.push({ text: wrapped(name), x: (domain[0] + domain[1]) / 2, y: top - 0.01 / rows, xref: "paper", yref: "paper", showarrow: false, xanchor: "center", yanchor: "top", font: { size: 11 } });
      outliersOf(measures[name]).slice(0, 1).forEach((far) => layout.annotations.push({
        text: labels[far], x: jitter[far], y: measures[name][far], xref: "x" + end, yref: "y" + end, showarrow: false, yshift: 9, xanchor: jitter[far] > 0 ? "right" : "left", font: { size: 9 },
      }));
      return {
        type: "scatter", mode: "markers", x: jitter, y: measures[name], xaxis: "x" + end, yaxis: "y" + end, text: labels, selectedpoints: selected ? [...selected] : null,
        marker: { ...marker, showscale: Boolean(marker.showscale) && n === 0 }, hovertemplate: "%{text}<br>" + name + " %{y}<extra></extra>",
      };
    });
    const buttons = [["select2d", "lasso2d", "zoom2d", "pan2d", "resetScale2d", "toImage"]];
    Plotly.react(panels, traces, layout, { displaylogo: false, responsive: false, modeBarButtons: buttons, displayModeBar: true });
    list(measures);
  };
  document.querySelector(".explore").hidden = false;
  draw();
  panels.on("plotly_click", (event) => { const { href } = data.runs[event.points[0].pointIndex]; if (href) location.href = href; });
  panels.on("plotly_selected", (event) => {
    if (!event || !event.points.length) return;
    selected = new Set(event.points.map((point) => point.pointIndex));
    showSelection();
    Plotly.restyle(panels, { selectedpoints: [[...selected]] });
  });
  const clear = () => { selected = null; showSelection(); draw(); };
  panels.on("plotly_deselect", clear);
  find("clear").addEventListener("click", clear);
  find("copy").addEventListener("click", () => {
    find("selected").select();
    if (navigator.clipboard) navigator.clipboard.writeText(find("selected").value).catch(() => document.execCommand("copy"));
    else document.execCommand("copy");
  });
  [family, color].forEach((choice) => choice.addEventListener("change", draw));
  let waiting;
  window.addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(draw, 200); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
}
