"use strict";
(() => {
  const tip = document.getElementById("tip");
  const charts = document.querySelectorAll("svg.chart[tabindex]");
  let shown = null;
  let byKey = false;

  const hide = () => {
    if (shown) shown.classList.remove("on");
    shown = null;
    tip.hidden = true;
  };

  const show = (mark, box, key = false) => {
    byKey = key;
    if (shown && shown !== mark) shown.classList.remove("on");
    shown = mark;
    mark.classList.add("on");
    tip.textContent = mark.dataset.tip;
    tip.hidden = false;
    const own = tip.getBoundingClientRect();
    const left = box.left + box.width / 2 - own.width / 2;
    const most = document.documentElement.clientWidth - own.width - 8;
    tip.style.left = Math.max(8, Math.min(left, most)) + "px";
    const above = box.top - own.height - 10;
    tip.style.top = (above > 4 ? above : box.bottom + 10) + "px";
  };

  const reveal = (id) => {
    const row = id && document.getElementById(id);
    if (!row || row.tagName !== "DETAILS") return false;
    row.open = true;
    row.scrollIntoView({ block: "start" });
    row.querySelector("summary").focus({ preventScroll: true });
    return true;
  };

  for (const chart of charts) {
    const marks = [...chart.querySelectorAll(".mark")];
    for (const mark of marks) {
      const title = mark.querySelector("title");
      mark.dataset.tip = title.textContent;
      title.remove();
    }
    const visible = () => marks.filter((mark) => mark.getClientRects().length > 0);
    const boxes = () => visible().map((mark) => [mark, mark.getBoundingClientRect()]);
    const nearest = (event) => {
      const direct = event.target.closest(".mark");
      if (direct) return [direct, direct.getBoundingClientRect()];
      if (!chart.classList.contains("scatter")) return null;
      let best = null;
      let least = 14;
      for (const pair of boxes()) {
        const box = pair[1];
        const away = Math.hypot(
          box.left + box.width / 2 - event.clientX,
          box.top + box.height / 2 - event.clientY,
        );
        if (away < least) [best, least] = [pair, away];
      }
      return best;
    };
    const point = (event) => {
      const found = nearest(event);
      if (found) show(...found);
      else hide();
    };
    chart.addEventListener("pointermove", point);
    chart.addEventListener("pointerdown", point);
    chart.addEventListener("pointerleave", hide);
    chart.addEventListener("blur", hide);
    chart.addEventListener("click", (event) => {
      const row = event.target.closest("[data-row]");
      if (row && reveal(row.dataset.row)) event.preventDefault();
    });
    chart.addEventListener("keydown", (event) => {
      const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
      if (event.key === "Escape") return hide();
      if (event.key === "Enter" && shown && chart.contains(shown)) {
        return void reveal(shown.dataset.row);
      }
      if (!(event.key in steps) && event.key !== "Home" && event.key !== "End") return;
      const order = boxes().sort((a, b) => a[1].left - b[1].left || b[1].top - a[1].top);
      if (!order.length) return;
      event.preventDefault();
      const last = order.length - 1;
      const now = order.findIndex((pair) => pair[0] === shown);
      let next = Math.max(0, Math.min(last, now + (steps[event.key] || 0)));
      if (event.key === "Home" || now < 0) next = 0;
      if (event.key === "End") next = last;
      show(...order[next], true);
    });
  }

  const follow = () => {
    if (shown && byKey) show(shown, shown.getBoundingClientRect(), true);
    else hide();
  };
  document.addEventListener("scroll", follow, { passive: true });
  addEventListener("hashchange", () => reveal(location.hash.slice(1)));
  for (const input of document.querySelectorAll(".views > input")) {
    input.addEventListener("change", hide);
  }
  reveal(location.hash.slice(1));
})();
