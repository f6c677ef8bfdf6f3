// For those who keep their hands on the keys: the palette, single keys, and what a tab tells while it is not looked at.
"use strict";

(() => {
  const palette = document.getElementById("palette");
  const sheet = document.getElementById("keys");

  // The palette: a box whose answers come from the server; without this script its address is a page of its own.
  const box = palette?.querySelector("input");
  const list = palette?.querySelector("[role=listbox]");
  let asked = 0;
  let waiting = null;
  let answered = null; // the text that the list answers
  let isEntered = false;

  const options = () => [...list.querySelectorAll("[role=option]")];
  const chosen = () => list.querySelector("[aria-selected=true]");

  function choose(option) {
    options().forEach((each) => each.setAttribute("aria-selected", each === option ? "true" : "false"));
    box.setAttribute("aria-activedescendant", option?.id ?? "");
    option?.scrollIntoView({ block: "nearest" });
  }
  function step(by) {
    const all = options();
    if (all.length) choose(all[(all.indexOf(chosen()) + by + all.length) % all.length]);
  }
  async function ask() {
    clearTimeout(waiting);
    const number = ++asked;
    const text = box.value;
    const lines = await linesFor(text).catch(() => null);
    // an earlier question that is answered later says nothing any more
    if (number !== asked) return;
    if (lines === null) { isEntered = false; return; }
    list.innerHTML = lines;
    answered = text;
    choose(options()[0]);
    if (isEntered) enter();
  }
  async function linesFor(text) {
    const answer = await fetch(`${palette.dataset.url}?q=${encodeURIComponent(text)}`, { headers: { "HX-Request": "true" } });
    return answer.ok && !answer.redirected ? answer.text() : null;
  }
  // Enter means what was typed, not the list of before: it waits for the answer.
  function enter() {
    isEntered = answered !== box.value;
    if (isEntered) ask();
    else if (chosen()) location.assign(chosen().dataset.url);
  }
  function openPalette() {
    if (!palette || palette.open) return;
    sheet?.close();
    palette.showModal();
    box.select();
    answered = null;
    ask();
  }
  palette?.addEventListener("close", () => { isEntered = false; });
  box?.addEventListener("input", () => {
    isEntered = false;
    clearTimeout(waiting);
    waiting = setTimeout(ask, 120);
  });
  palette?.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown") step(1);
    else if (event.key === "ArrowUp") step(-1);
    else if (event.key === "Enter") enter();
    else return;
    event.preventDefault();
  });
  list?.addEventListener("click", (event) => {
    const option = event.target.closest("[role=option]");
    if (option) location.assign(option.dataset.url);
  });
  for (const dialog of [palette, sheet]) dialog?.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });

  // Single keys; who speaks to the computer, or presses them by accident, can turn them off.
  const KEYS = "tasker-keys";
  const areOn = () => { try { return localStorage.getItem(KEYS) !== "off"; } catch { return true; } };
  const toggle = document.getElementById("keys-on");
  if (toggle) {
    toggle.closest("p").hidden = false;
    toggle.checked = areOn();
    toggle.addEventListener("change", () => { try { localStorage.setItem(KEYS, toggle.checked ? "on" : "off"); } catch { toggle.checked = true; } });
  }
  let isGoing = false;
  let forgetting = null;

  function go(key) {
    isGoing = false;
    const way = sheet?.querySelector(`a[data-go="${CSS.escape(key)}"]`);
    if (way) location.assign(way.href);
    return Boolean(way);
  }
  function moveRow(by) {
    const rows = [...document.querySelectorAll("#main tbody tr")].filter((row) => row.querySelector("a[href]") && row.offsetParent);
    const next = rows[rows.indexOf(document.activeElement?.closest("tr")) + by] ?? (by > 0 ? rows[0] : rows.at(-1));
    next?.querySelector("th a[href], a[href]").focus();
    return Boolean(next);
  }
  function toButton(verb) {
    const button = document.querySelector(`#task-${verb}, #step-${verb}`) ?? document.querySelector(`#main a.button[href*="/${verb}"]`);
    button?.focus();
    return Boolean(button);
  }
  // r and c lead to their button and do not press it: a slip of the finger must not act
  const PRESSES = {
    "/": () => (openPalette(), true),
    "?": () => (sheet?.showModal(), true),
    j: () => moveRow(1),
    k: () => moveRow(-1),
    r: () => toButton("retry"),
    c: () => toButton("cancel"),
    g: () => {
      isGoing = true;
      clearTimeout(forgetting);
      forgetting = setTimeout(() => { isGoing = false; }, 1500);
      return true;
    },
  };
  document.addEventListener("keydown", (event) => {
    const isCommand = event.ctrlKey || event.metaKey;
    if (isCommand && !event.altKey && !event.shiftKey && event.key.toLowerCase() === "k" && palette) {
      event.preventDefault();
      openPalette();
      return;
    }
    const isWriting = event.target.closest?.("input, textarea, select, [contenteditable], dialog");
    if (isCommand || event.altKey || event.defaultPrevented || isWriting || document.querySelector("dialog[open]") || !areOn()) return;
    if (isGoing ? go(event.key) : PRESSES[event.key]?.()) event.preventDefault();
  });

  // The tab says how what it shows stands.
  const icon = document.getElementById("tab-icon");
  const subject = () => document.querySelector("[data-tab-state]");

  function tellTab() {
    const seen = subject();
    if (!seen || !icon) return;
    const path = icon.href.replace(/[^/]+\.svg/, `${seen.dataset.tabState}.svg`);
    if (icon.href !== path) icon.href = path;
    if (document.title !== seen.dataset.tabTitle) document.title = seen.dataset.tabTitle;
  }

  // "Tell me when it ends": by the browser, as long as this tab is open.
  const tell = document.querySelector("[data-tell]");
  const follows = () => { try { return sessionStorage.getItem(tell.dataset.tell) === "on"; } catch { return false; } };
  function follow(isOn) {
    try { sessionStorage.setItem(tell.dataset.tell, isOn ? "on" : "off"); } catch { return; }
    // a tab that is not looked at rests otherwise, and hears nothing
    document.documentElement.toggleAttribute("data-follows", isOn);
    tell.setAttribute("aria-pressed", isOn ? "true" : "false");
    tell.textContent = isOn ? "This browser will tell you" : "In this browser";
  }
  function tellEnd() {
    const seen = subject();
    if (!tell || !seen || seen.dataset.tabEnded !== "yes" || !follows()) return;
    follow(false);
    const notice = new Notification(seen.dataset.tabTitle, { tag: tell.dataset.tell, body: seen.dataset.tabWords });
    notice.addEventListener("click", () => { window.focus(); notice.close(); });
  }
  if (tell && "Notification" in window) {
    tell.hidden = false;
    if (follows()) follow(true);
    tell.addEventListener("click", async () => {
      if (follows()) { follow(false); return; }
      if ((await Notification.requestPermission()) === "granted") follow(true);
      else tell.textContent = "Your browser does not allow it";
    });
  }
  document.addEventListener("htmx:oobAfterSwap", () => { tellTab(); tellEnd(); });
})();
