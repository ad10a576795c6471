"use strict";
// Replaces the parts of the page that have changed, as the server renders them. Without it the page is the same, and
// stands still.
(() => {
  const root = document.querySelector("#parts");
  const live = document.querySelector("#live");
  const pause = document.querySelector("#pause");
  let source = null;
  let waiting = null;
  const PATIENCE = 10000; // milliseconds without news: a message comes every two seconds

  function say(text, kind) {
    if (live.textContent !== text) live.textContent = text;
    live.className = kind;
  }

  // What has the focus is replaced with the rest: the same place gets it again.
  function keepFocus(part, change) {
    const held = document.activeElement;
    const inside = part.contains(held) ? held : null;
    const scrolled = part.querySelector(".scroll")?.scrollLeft ?? 0;
    change();
    const scroll = part.querySelector(".scroll");
    if (scroll) scroll.scrollLeft = scrolled;
    if (!inside) return;
    const href = inside.getAttribute("href");
    const again = inside.id ? document.getElementById(inside.id) : [...part.querySelectorAll("a")].find((a) => a.getAttribute("href") === href);
    again?.focus({ preventScroll: true });
  }

  function show(parts) {
    for (const [name, html] of Object.entries(parts)) {
      const part = root.querySelector(`[data-part="${name}"]`);
      if (part) keepFocus(part, () => { part.innerHTML = html; });
    }
  }

  function wait() {
    clearTimeout(waiting);
    waiting = setTimeout(() => say("Not live, trying again", "off"), PATIENCE);
  }

  function start() {
    wait();
    source = new EventSource(root.dataset.stream);
    source.onmessage = (event) => { show(JSON.parse(event.data)); wait(); say("Live", "on"); };
    source.onerror = () => {
      // A stream ends after 20 seconds, and begins again by itself.
      if (source.readyState === EventSource.CLOSED) setTimeout(() => { if (source) { source.close(); start(); } }, 5000);
    };
  }

  function stop() {
    source?.close();
    source = null;
    clearTimeout(waiting);
  }

  pause.addEventListener("click", () => {
    if (source) { stop(); pause.textContent = "Go on"; say("Paused", ""); } else { start(); pause.textContent = "Pause"; }
  });
  // A hidden page needs no stream.
  document.addEventListener("visibilitychange", () => {
    if (pause.textContent !== "Pause") return;
    if (document.hidden) stop(); else if (!source) start();
  });
  document.querySelector("#reload").hidden = true;
  pause.hidden = false;
  start();
})();
