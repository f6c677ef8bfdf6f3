// The graph can be made larger, smaller, and dragged; without this it stands at its own size and scrolls.
"use strict";

(() => {
  const LARGEST = 2;
  const SMALLEST = 0.15;
  const READABLE = 0.7;

  const frame = document.querySelector(".graph-frame");
  if (!frame) return;
  const view = frame.querySelector(".graph");
  const drawing = () => frame.querySelector(".graph > svg");
  const natural = () => drawing().viewBox.baseVal;
  const scale = () => drawing().width.baseVal.value / natural().width;
  const bounded = (wanted) => Math.min(LARGEST, Math.max(SMALLEST, wanted));

  function zoom(wanted, x = view.clientWidth / 2, y = view.clientHeight / 2) {
    const before = scale();
    const after = bounded(wanted);
    const left = (view.scrollLeft + x) * (after / before) - x;
    const top = (view.scrollTop + y) * (after / before) - y;
    drawing().setAttribute("width", natural().width * after);
    drawing().setAttribute("height", natural().height * after);
    view.scrollTo(left, top);
  }

  function fit(least) {
    const wanted = Math.min(1, view.clientWidth / natural().width);
    zoom(Math.max(wanted, least));
  }

  const buttons = { in: () => zoom(scale() * 1.25), out: () => zoom(scale() / 1.25), fit: () => fit(SMALLEST) };
  frame.addEventListener("click", (event) => {
    const pressed = event.target.closest("[data-zoom]");
    if (pressed) buttons[pressed.dataset.zoom]();
  });

  view.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    const box = view.getBoundingClientRect();
    zoom(scale() * Math.exp(-event.deltaY / 400), event.clientX - box.left, event.clientY - box.top);
  }, { passive: false });

  // By keyboard: + and - and 0, and from a step the arrows lead to the nearest one on that side.
  const KEYS = { "+": "in", "=": "in", "-": "out", "0": "fit" };
  const WAYS = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };
  const middle = (node) => {
    const box = node.querySelector(".box").getBoundingClientRect();
    return { x: box.x + box.width / 2, y: box.y + box.height / 2 };
  };

  function nearest(from, [right, down]) {
    const start = middle(from);
    let found = null;
    let least = Infinity;
    for (const node of drawing().querySelectorAll(".node")) {
      const at = middle(node);
      const ahead = (at.x - start.x) * right + (at.y - start.y) * down;
      const aside = Math.abs((at.x - start.x) * down) + Math.abs((at.y - start.y) * right);
      if (ahead < 8 || ahead + 2 * aside >= least) continue;
      least = ahead + 2 * aside;
      found = node;
    }
    return found;
  }

  view.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (KEYS[event.key]) {
      event.preventDefault();
      buttons[KEYS[event.key]]();
    }
    const node = document.activeElement.closest(".node");
    if (!node || !WAYS[event.key]) return;
    event.preventDefault();
    nearest(node, WAYS[event.key])?.focus();
  });

  // A drag pans; a press that does not move is still a click on the step under it.
  const SLACK = 4;
  let held = null;
  let dragged = false;
  view.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || event.pointerType === "touch") return;
    dragged = false;
    held = { x: event.clientX, y: event.clientY, left: view.scrollLeft, top: view.scrollTop };
  });
  window.addEventListener("pointermove", (event) => {
    if (!held) return;
    const x = event.clientX - held.x;
    const y = event.clientY - held.y;
    if (!dragged && Math.hypot(x, y) < SLACK) return;
    dragged = true;
    view.classList.add("grabbing");
    view.scrollTo(held.left - x, held.top - y);
  });
  window.addEventListener("pointerup", () => {
    held = null;
    view.classList.remove("grabbing");
  });
  view.addEventListener("click", (event) => {
    if (dragged) event.preventDefault();
    dragged = false;
  }, true);
  view.addEventListener("dragstart", (event) => event.preventDefault());

  // A graph larger than its frame opens where somebody is likely to look first.
  function showWhatMatters() {
    const states = ["failed", "retrying", "running", "ready"].map((state) => `.node.state-${state}`);
    const node = [...states, ".node"].map((wanted) => drawing().querySelector(wanted)).find(Boolean);
    if (!node) return;
    const at = middle(node);
    const box = view.getBoundingClientRect();
    view.scrollBy(at.x - box.x - view.clientWidth / 2, at.y - box.y - view.clientHeight / 2);
  }

  frame.querySelector(".graph-tools").hidden = false;
  fit(READABLE);
  showWhatMatters();
})();
