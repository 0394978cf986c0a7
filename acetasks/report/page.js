"use strict";
// Without this script the page has all its tasks and charts; with it, search, filters, media and the theme.
(() => {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  // In the head, so that the page is never shown in the other theme. Storage can be forbidden.
  try {
    const saved = localStorage.getItem("acetasks-theme");
    if (saved === "light" || saved === "dark") root.dataset.theme = saved;
  } catch {}

  const byId = (id) => document.getElementById(id);

  function startTheme() {
    const button = byId("theme");
    const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);
    const show = () => { button.textContent = isDark() ? "Light theme" : "Dark theme"; };
    button.addEventListener("click", () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      try { localStorage.setItem("acetasks-theme", root.dataset.theme); } catch {}
      show();
    });
    dark.addEventListener("change", show);
    button.hidden = false;
    show();
  }

  // The template puts in only such addresses; this is the second lock.
  function isShowable(source) {
    const { protocol } = new URL(source, document.baseURI);
    if (protocol === "data:") return /^data:(image|video|audio)\//i.test(source);
    return protocol === "https:" || protocol === "http:" || protocol === "file:";
  }

  function createMedia(kind, source, poster) {
    const element = document.createElement(kind === "image" ? "img" : kind);
    if (kind === "image") {
      element.loading = "lazy";
      element.decoding = "async";
      element.alt = "";
    } else {
      element.controls = true;
      element.preload = "none";
      if (poster) element.poster = poster;
    }
    element.src = source;
    return element;
  }

  // The files of a row are requested when the row is opened.
  function startMedia(rows) {
    rows.addEventListener("toggle", ({ target }) => {
      if (!target.open) return;
      const files = [...target.querySelectorAll(".media:not([data-shown])")].filter((file) => isShowable(file.dataset.source));
      const poster = files.find((file) => file.dataset.kind === "image")?.dataset.source;
      for (const file of files) {
        file.dataset.shown = "";
        const { kind, source } = file.dataset;
        if (kind === "file") continue;
        const element = createMedia(kind, source, poster);
        // Addresses of a service expire.
        element.addEventListener("error", () => { file.dataset.lost = ""; });
        file.prepend(element);
      }
    }, true);
  }

  // Previews are created when they come into view: those of local files always, those of the service on request.
  function startPreviews(rows) {
    const switched = byId("previews");
    const observer = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) {
        if (!isIntersecting) continue;
        observer.unobserve(target);
        if (!isShowable(target.dataset.source)) continue;
        const image = createMedia("image", target.dataset.source);
        image.addEventListener("error", () => image.remove());
        target.append(image);
      }
    }, { rootMargin: "400px" });
    const observe = (selector) => {
      for (const preview of rows.querySelectorAll(selector)) observer.observe(preview);
    };
    observe(".thumb[data-local]");
    const remote = ".thumb[data-source]:not([data-local])";
    if (rows.querySelector(remote)) {
      switched.addEventListener("change", () => {
        if (switched.checked) return observe(`${remote}:empty`);
        for (const preview of rows.querySelectorAll(remote)) {
          observer.unobserve(preview);
          preview.replaceChildren();
        }
      });
    } else {
      switched.parentElement.hidden = true;
    }
  }

  // What is searched in a row: the values, not the labels. Collected at the first search.
  const contents = new WeakMap();
  function contentOf(row) {
    let content = contents.get(row);
    if (content === undefined) {
      const values = [...row.querySelectorAll("bdi, a")].map((value) => value.textContent);
      content = [row.dataset.state.replace("_", " "), ...values].join("\n").toLowerCase();
      contents.set(row, content);
    }
    return content;
  }

  function startFilters(table) {
    const groups = [...table.tBodies];
    const rows = groups.flatMap((group) => [...group.rows]);
    const size = groups.length ? groups[0].rows.length : 0;
    const search = byId("search"), provider = byId("provider"), order = byId("order");
    const states = [...document.getElementsByName("state")];
    function filter() {
      const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
      const wanted = new Set(states.filter((box) => box.checked).map((box) => box.value));
      let found = 0;
      for (const row of rows) {
        const { state, provider: slug } = row.dataset;
        const fits = (!wanted.size || wanted.has(state)) && (!provider.value || slug === provider.value)
          && (!words.length || words.every((word) => contentOf(row).includes(word)));
        row.hidden = !fits;
        found += fits;
      }
      estimateHeights();
      const total = rows.length.toLocaleString("en");
      const noun = rows.length === 1 ? "task" : "tasks";
      byId("found").textContent = found === rows.length ? `${total} ${noun}` : `${found.toLocaleString("en")} of ${total} ${noun}`;
      byId("empty").hidden = found > 0;
    }
    // The height of groups that were never in view: without it, the scroll bar would count hidden rows.
    function estimateHeights() {
      for (const group of groups) {
        const count = [...group.rows].filter((row) => !row.hidden).length;
        group.hidden = count === 0;
        group.style.containIntrinsicHeight = count === size ? "" : `auto calc(${count} * var(--row))`;
      }
    }
    function sort() {
      const key = order.value;
      const valueOf = (row) => (row.dataset[key] === undefined ? -Infinity : Number(row.dataset[key]));
      const sign = key === "number" ? 1 : -1;
      const sorted = rows.toSorted((a, b) => sign * (valueOf(a) - valueOf(b)) || 0);
      groups.forEach((group, index) => group.append(...sorted.slice(index * size, (index + 1) * size)));
      estimateHeights();
    }
    let timer;
    search.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(filter, 80); });
    for (const control of [provider, ...states]) control.addEventListener("change", filter);
    order.addEventListener("change", sort);
    byId("tools").addEventListener("submit", (event) => event.preventDefault());
    byId("tools").hidden = false;
    // A browser keeps what was entered when the page is loaded again.
    if (order.value !== "number") sort();
    filter();
    return () => {
      search.value = provider.value = "";
      for (const box of states) box.checked = false;
      filter();
    };
  }

  function startKeys(table) {
    table.addEventListener("keydown", (event) => {
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (!step || event.target.localName !== "summary") return;
      let index = event.target.closest("tr").rowIndex + step;
      while (table.rows[index]?.hidden) index += step;
      const summary = table.rows[index]?.querySelector("summary");
      if (!summary) return;
      event.preventDefault();
      summary.focus();
    });
  }

  function startTimeline(showAll) {
    const chart = document.querySelector(".timeline");
    const tip = byId("tip");
    if (!chart) return;
    const rowOf = (target) => target.dataset.row && byId(`t${target.dataset.row}`);
    chart.addEventListener("pointermove", ({ target, clientX, clientY }) => {
      const row = rowOf(target);
      tip.hidden = !row;
      if (!row) return;
      const [task, text, , , took] = row.cells;
      tip.textContent = `${task.textContent.trim().split(/\s+/).slice(0, 2).join(" ")}, ${took.textContent.trim()}: ${text.querySelector("summary").textContent.trim().slice(0, 160)}`;
      tip.style.left = `${Math.min(clientX + 12, innerWidth - tip.offsetWidth - 8)}px`;
      tip.style.top = `${Math.min(clientY + 12, innerHeight - tip.offsetHeight - 8)}px`;
    });
    chart.addEventListener("pointerleave", () => { tip.hidden = true; });
    chart.addEventListener("click", ({ target }) => {
      const row = rowOf(target);
      if (!row) return;
      tip.hidden = true;
      if (row.hidden) showAll();
      row.querySelector("details").open = true;
      row.scrollIntoView({ block: "center" });
      row.querySelector("summary").focus({ preventScroll: true });
    });
  }

  document.addEventListener("DOMContentLoaded", () => {
    const table = byId("rows");
    startTheme();
    startMedia(table);
    startPreviews(table);
    startKeys(table);
    startTimeline(startFilters(table));
  });
})();
