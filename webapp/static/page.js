// What makes the pages livelier than plain HTML; every page also works without it.
"use strict";

(() => {
  // Times: the server learns the reader's zone from a cookie; the first page, made before it knew, is set right here.
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;

  function tellZone() {
    if (!zone || document.documentElement.dataset.zone === zone || "zoneChosen" in document.documentElement.dataset) return;
    document.cookie = `zone=${zone}; path=/; max-age=31536000; SameSite=Lax`;
    document.querySelectorAll("time[datetime]").forEach(showLocally);
    const name = document.getElementById("zone-name");
    if (name) name.textContent = zone;
  }

  function showLocally(element) {
    const at = new Date(element.dateTime);
    const pad = (number) => String(number).padStart(2, "0");
    const day = `${pad(at.getDate())} ${at.toLocaleString("en-GB", { month: "short" }).slice(0, 3)}`;
    const clock = `${pad(at.getHours())}:${pad(at.getMinutes())}`;
    const exact = `${clock}:${pad(at.getSeconds())}`;
    const now = new Date();
    if (element.dataset.form === "exact") element.textContent = `${exact}.${String(at.getMilliseconds()).padStart(3, "0")}`;
    else if (element.dataset.form === "full") element.textContent = `${day} ${exact}`;
    else if (at.toDateString() === now.toDateString()) element.textContent = exact;
    else if (at.getFullYear() === now.getFullYear()) element.textContent = `${day} ${clock}`;
    else element.textContent = `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())}`;
  }

  // Live regions must not take away what the reader has typed, opened or moved.
  function keepWhatIsTheReaders(name, element) {
    if (name === "value" && element.closest("#act, #note-form") && element.type !== "hidden") return false;
    if (name === "open" && element.localName === "details") return false;
    if (name === "hidden" && element.matches(".graph-tools")) return false;
    if ((name === "width" || name === "height") && element.id === "graph-drawing") return false;
    return true;
  }
  if (window.Idiomorph) Idiomorph.defaults.callbacks.beforeAttributeUpdated = keepWhatIsTheReaders;

  // A page whose stream was refused, or is lost, asks now and then instead.
  const POLL_MILLISECONDS = 5000;
  let polling = null;

  function poll() {
    const asks = document.querySelector("#live [hx-get]");
    if (asks && (!document.hidden || document.documentElement.hasAttribute("data-follows"))) htmx.trigger(asks, "poll");
  }
  function startPolling() {
    if (polling === null) polling = setInterval(poll, POLL_MILLISECONDS);
  }
  function stopPolling() {
    clearInterval(polling);
    polling = null;
  }
  document.addEventListener("htmx:sseError", startPolling);
  document.addEventListener("htmx:sseOpen", stopPolling);
  if (document.querySelector("#live:not([sse-connect]) [hx-get]")) startPolling();

  // The reader is told when the page was last renewed, and in plain sight when it is not being renewed.
  // Who listens is told only when that turns: a word at each renewal would never end.
  const status = document.getElementById("live-status");
  const turn = document.getElementById("live-turn");
  let wasStale = false;
  const isLive = (element) => Boolean(element?.closest?.("#live"));
  const exactly = () => new Date().toLocaleTimeString("en-GB");

  function tellStatus(words, isStale) {
    if (!status) return;
    status.textContent = words;
    status.classList.toggle("stale", isStale);
    if (isStale !== wasStale) turn.textContent = isStale ? words : "The page is up to date again.";
    wasStale = isStale;
  }
  document.addEventListener("htmx:afterRequest", (event) => {
    if (!isLive(event.detail.elt)) return;
    // what has failed is said among the notices
    wasStale ||= Boolean(event.detail.failed);
    if (!event.detail.successful) return;
    document.querySelectorAll("#notices .notice-failed").forEach((said) => said.remove());
    tellStatus(`Updated ${exactly()}${polling === null ? "" : ", every 5 s"}.`, false);
  });
  window.addEventListener("offline", () => tellStatus(`Offline since ${exactly()}. What you see may be out of date.`, true));
  window.addEventListener("online", poll);

  // Nothing moves under the hands of somebody who writes a note or a result; a reason in its one line survives a renewal.
  let isHeld = false;
  const isWriting = () => {
    const field = document.activeElement;
    return Boolean(field?.closest("#act, #note-form") && field.matches("textarea") && field.value);
  };
  document.addEventListener("htmx:beforeRequest", (event) => {
    if (!isLive(event.detail.elt) || !isWriting()) return;
    event.preventDefault();
    if (!isHeld) tellStatus(`Not renewed since ${exactly()}: you are writing.`, true);
    isHeld = true;
  });
  document.addEventListener("focusout", () => setTimeout(() => {
    if (!isHeld || isWriting()) return;
    isHeld = false;
    poll();
  }));

  // A browser opens only six connections to one server, so a page that nobody looks at gives its stream back.
  let resting = null;

  function restOrWake() {
    const live = document.getElementById("live");
    if (!live || !window.htmx) return;
    if (document.hidden && resting === null && !document.documentElement.hasAttribute("data-follows")) {
      resting = live.outerHTML;
      htmx.swap(live, '<div id="live"></div>', { swapStyle: "outerHTML" });
    } else if (!document.hidden && resting !== null) {
      htmx.swap(live, resting, { swapStyle: "outerHTML" });
      resting = null;
    }
  }
  document.addEventListener("visibilitychange", restOrWake);

  // An action that went well has used its reason. Asked of the request itself: a live update may take the button away before the answer comes.
  document.addEventListener("htmx:beforeSend", (event) => {
    const { xhr, requestConfig } = event.detail;
    const form = requestConfig.elt.matches("[formaction]") ? document.getElementById("act") : requestConfig.elt.closest("#note-form");
    if (!form) return;
    xhr.addEventListener("loadend", () => {
      if (xhr.status >= 200 && xhr.status < 300) form.reset();
    });
  });
  document.addEventListener("htmx:sendError", (event) => {
    wasStale ||= isLive(event.detail.elt);
    const notices = document.getElementById("notices");
    if (!notices || notices.querySelector(".notice-failed")) return;
    const said = document.createElement("p");
    said.className = "notice notice-failed";
    said.textContent = "The dashboard does not answer. What you see may be out of date.";
    notices.replaceChildren(said);
  });

  // Choosing a variant in a form presses the button that shows its fields.
  document.addEventListener("change", (event) => {
    const around = event.target.closest("#launch .field")?.parentElement;
    if (event.target.localName === "select" && around?.matches(".field-choice")) around.querySelector(":scope > button").click();
  });

  // A command can be taken with one press.
  const offerCopies = () => document.querySelectorAll("[data-copy]").forEach((button) => { button.hidden = !navigator.clipboard; });
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    await navigator.clipboard.writeText(button.parentElement.querySelector("code").textContent);
    button.textContent = "Copied";
  });
  document.addEventListener("htmx:afterSettle", offerCopies);
  offerCopies();

  tellZone();
})();
