"use strict";
(() => {
  const live = document.getElementById("live");
  const say = (text, state) => {
    if (live.textContent !== text) live.textContent = text;
    live.dataset.state = state;
  };

  // A section is not replaced while somebody marks a text in it.
  const isMarked = (node) => {
    const marked = document.getSelection();
    return marked !== null && !marked.isCollapsed && node.contains(marked.anchorNode);
  };

  // What is open, scrolled or focused stays so.
  const replace = (node, html) => {
    const open = new Set([...node.querySelectorAll("details[open]")].map((each) => each.id));
    const scrolled = [...node.querySelectorAll(".scroll, .wide")].map((each) => each.scrollLeft);
    const active = document.activeElement;
    const holder = node.contains(active) ? active.closest("details, .scroll") : null;
    const focused = holder === null ? null : holder.id || holder.className;
    node.innerHTML = html;
    for (const each of node.querySelectorAll("details")) each.open = open.has(each.id);
    node.querySelectorAll(".scroll, .wide").forEach((each, at) => {
      each.scrollLeft = scrolled[at] || 0;
    });
    if (focused !== null) {
      const again = document.getElementById(focused) || node.querySelector("." + CSS.escape(focused));
      if (again !== null) (again.querySelector("summary") || again).focus({ preventScroll: true });
    }
  };

  const waiting = new Map();
  const update = () => {
    for (const [name, html] of [...waiting]) {
      const node = document.getElementById(name);
      if (node !== null && isMarked(node)) continue;
      waiting.delete(name);
      if (node !== null) replace(node, html);
    }
  };

  const connect = () => {
    const source = new EventSource("/-/events");
    source.addEventListener("open", () => say("live", "live"));
    source.addEventListener("sections", (event) => {
      for (const [name, html] of Object.entries(JSON.parse(event.data))) waiting.set(name, html);
      update();
    });
    source.addEventListener("error", () => {
      say("not connected; trying again", "lost");
      if (source.readyState === EventSource.CLOSED) {
        source.close();
        setTimeout(connect, 2000);
      }
    });
  };
  document.addEventListener("selectionchange", update);
  connect();
})();
