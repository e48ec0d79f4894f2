"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const { ids, texts, x, y } = data;
  const count = ids.length;
  const canvas = $("map"), card = $("card"), brush = canvas.getContext("2d");
  const view = { scale: 1, x: 0, y: 0 }; // what is in the middle, and how far it is enlarged
  const hidden = new Set(); // groups that are switched off
  let matches = null; // documents that hold what is looked for; null: nothing is
  let picked = -1; // the document whose card is shown
  let width = 1, height = 1;

  const scaled = data.values !== undefined;
  const shade = (value) => {
    if (value === null) return data.grey;
    const span = data.high - data.low || 1;
    const last = data.ramp.length - 1;
    return data.ramp[Math.round(((value - data.low) / span) * last)];
  };
  const colours = Array.from({ length: count }, (_, n) =>
    scaled ? shade(data.values[n]) : data.colours[data.members[n]]);
  const folded = texts.map((text, n) => `${ids[n]}\n${text}`.toLowerCase());

  // Places on the screen: both axes have one scale, y grows upwards.
  const unit = () => 0.46 * Math.min(width, height) * view.scale;
  const toScreen = (n) => [
    width / 2 + (x[n] - view.x) * unit(),
    height / 2 - (y[n] - view.y) * unit(),
  ];
  const shown = (n) => scaled || !hidden.has(data.members[n]);
  const active = (n) => shown(n) && (matches === null || matches.has(n));

  let waiting = false;
  function draw() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; paint(); });
  }

  function paint() {
    const sharp = window.devicePixelRatio || 1;
    brush.setTransform(sharp, 0, 0, sharp, 0, 0);
    brush.clearRect(0, 0, width, height);
    const radius = Math.max(1.6, Math.min(5, 220 / Math.sqrt(count))) * Math.min(2.2, Math.sqrt(view.scale));
    const dot = (n, size) => {
      const [left, top] = toScreen(n);
      if (left < -9 || top < -9 || left > width + 9 || top > height + 9) return;
      brush.fillStyle = colours[n];
      brush.beginPath();
      brush.arc(left, top, size, 0, 2 * Math.PI);
      brush.fill();
    };
    if (matches !== null) {
      brush.globalAlpha = 0.1;
      for (let n = 0; n < count; n++) if (shown(n) && !matches.has(n)) dot(n, radius);
    }
    brush.globalAlpha = matches === null ? 0.75 : 0.95;
    for (let n = 0; n < count; n++) if (active(n)) dot(n, radius);
    brush.globalAlpha = 1;
    if (picked >= 0) {
      dot(picked, radius + 2);
      brush.strokeStyle = getComputedStyle(document.documentElement).getPropertyValue("--ring");
      brush.lineWidth = 1.5;
      brush.stroke();
    }
  }

  function resize() {
    const box = $("stage").getBoundingClientRect();
    const sharp = window.devicePixelRatio || 1;
    width = Math.max(1, box.width);
    height = Math.max(1, box.height);
    canvas.width = Math.round(width * sharp);
    canvas.height = Math.round(height * sharp);
    pick(picked);
    draw();
  }

  function groupOf(n) {
    if (!scaled) return data.names[data.members[n]];
    return data.values[n] === null ? "(none)" : `${data.field}: ${data.values[n]}`;
  }

  function pick(n) {
    picked = n;
    card.hidden = n < 0;
    if (n >= 0) {
      // Never as markup: a text is somebody else's.
      $("card-id").textContent = ids[n];
      $("card-group").textContent = groupOf(n);
      $("card-text").textContent = texts[n];
      const [left, top] = toScreen(n);
      const box = card.getBoundingClientRect();
      const right = left + 14 + box.width > width ? left - 14 - box.width : left + 14;
      const below = top + 14 + box.height > height ? top - 14 - box.height : top + 14;
      card.style.transform =
        `translate(${Math.round(Math.max(4, right))}px, ${Math.round(Math.max(4, below))}px)`;
    }
    draw();
  }

  function nearest(left, top, reach) {
    let best = -1, least = reach * reach;
    for (let n = 0; n < count; n++) {
      if (!active(n)) continue;
      const [a, b] = toScreen(n);
      const distance = (a - left) ** 2 + (b - top) ** 2;
      if (distance < least) { least = distance; best = n; }
    }
    return best;
  }

  // The document that lies nearest in a direction; what lies aside counts as twice as far.
  function step(dx, dy) {
    if (picked < 0) return pick(nearest(width / 2, height / 2, Infinity));
    const [left, top] = toScreen(picked);
    let best = -1, least = Infinity;
    for (let n = 0; n < count; n++) {
      if (n === picked || !active(n)) continue;
      const [a, b] = toScreen(n);
      const along = (a - left) * dx + (b - top) * dy;
      const aside = Math.abs((a - left) * dy - (b - top) * dx);
      if (along <= 0 || aside > 2 * along) continue;
      const distance = along + 2 * aside;
      if (distance < least) { least = distance; best = n; }
    }
    if (best < 0) return;
    const [a, b] = toScreen(best);
    if (a < 20 || b < 20 || a > width - 20 || b > height - 20) { view.x = x[best]; view.y = y[best]; }
    pick(best);
  }

  function zoom(factor, left = width / 2, top = height / 2) {
    const before = unit();
    view.scale = Math.max(0.5, Math.min(400, view.scale * factor));
    const change = 1 / before - 1 / unit();
    view.x += (left - width / 2) * change;
    view.y -= (top - height / 2) * change;
    pick(picked);
  }

  function move(dx, dy) {
    view.x -= dx / unit();
    view.y += dy / unit();
    pick(picked);
  }

  function showAll() {
    Object.assign(view, { scale: 1, x: 0, y: 0 });
    pick(picked);
  }

  const fingers = new Map(); // pointers that are down, and where
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, [event.offsetX, event.offsetY]);
    pick(nearest(event.offsetX, event.offsetY, 14));
  });
  canvas.addEventListener("pointermove", (event) => {
    const here = [event.offsetX, event.offsetY];
    const before = fingers.get(event.pointerId);
    if (!before) return pick(nearest(...here, 14));
    fingers.set(event.pointerId, here);
    if (fingers.size === 1) return move(here[0] - before[0], here[1] - before[1]);
    const other = [...fingers].find(([id]) => id !== event.pointerId)[1];
    const apart = (one) => Math.hypot(one[0] - other[0], one[1] - other[1]) || 1;
    zoom(apart(here) / apart(before), (here[0] + other[0]) / 2, (here[1] + other[1]) / 2);
  });
  for (const name of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(name, (event) => fingers.delete(event.pointerId));
  }
  canvas.addEventListener("pointerleave", () => { if (!fingers.size && document.activeElement !== canvas) pick(-1); });
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), event.offsetX, event.offsetY);
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const arrow = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (arrow && event.shiftKey) move(-60 * arrow[0], -60 * arrow[1]);
    else if (arrow) step(...arrow);
    else if (event.key === "+" || event.key === "=") zoom(1.4);
    else if (event.key === "-") zoom(1 / 1.4);
    else if (event.key === "0") showAll();
    else if (event.key === "Escape") pick(-1);
    else return;
    event.preventDefault();
  });
  $("in").addEventListener("click", () => zoom(1.4));
  $("out").addEventListener("click", () => zoom(1 / 1.4));
  $("all").addEventListener("click", showAll);
  $("find").addEventListener("input", () => {
    const words = $("find").value.toLowerCase().split(/\s+/).filter(Boolean);
    matches = null;
    if (words.length) {
      matches = new Set();
      folded.forEach((text, n) => { if (words.every((word) => text.includes(word))) matches.add(n); });
    }
    $("found").textContent = matches === null ? "" : `${matches.size.toLocaleString("en")} found`;
    pick(-1);
  });

  function element(name, className, text) {
    const made = document.createElement(name);
    made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  }

  function legendOfGroups() {
    const sizes = data.names.map(() => 0);
    for (const group of data.members) sizes[group]++;
    data.names.forEach((name, group) => {
      const button = element("button", "");
      button.type = "button";
      button.setAttribute("aria-pressed", "true");
      const swatch = element("span", "swatch");
      swatch.style.background = data.colours[group];
      button.append(swatch, element("bdi", "", name), element("span", "count", sizes[group].toLocaleString("en")));
      button.addEventListener("click", () => {
        if (!hidden.delete(group)) hidden.add(group);
        button.setAttribute("aria-pressed", String(!hidden.has(group)));
        pick(picked >= 0 && shown(picked) ? picked : -1);
      });
      $("legend").append(button);
    });
  }

  function legendOfScale() {
    const ramp = element("div", "ramp"), ends = element("div", "ends");
    ramp.style.background = `linear-gradient(to right, ${data.ramp.join(", ")})`;
    ends.append(element("span", "", String(data.low)), element("span", "", String(data.high)));
    $("legend").append(ramp, ends);
  }

  $("title").textContent = data.title;
  const all = data.documents.toLocaleString("en");
  const some = count === data.documents ? all : `${count.toLocaleString("en")} of ${all}`;
  $("summary").textContent = `${some} documents, ${data.method.toUpperCase()}`;
  $("legend-title").textContent = data.field;
  scaled ? legendOfScale() : legendOfGroups();
  new ResizeObserver(resize).observe($("stage"));
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
})();
