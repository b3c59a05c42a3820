// Brings the states up to date without a reload. The page works without it.
"use strict";
(() => {
  const root = document.documentElement;
  const every = Number(root.dataset.refresh) * 1000;
  let good = Date.now(); // when the page was last up to date
  let timer;

  // A screen reader reads a live region again when it is written, so what is the same is not.
  const text = (element, value) => {
    if (element && element.textContent !== value) element.textContent = value;
  };
  const level = (element, value, words) => {
    if (!element) return;
    element.dataset.level = value;
    text(element.querySelector("a") || element, words);
  };

  const alertItem = (alert) => {
    const item = document.getElementById("alert").content.cloneNode(true);
    level(item.querySelector(".severity"), alert.level, alert.severity);
    text(item.querySelector(".name"), alert.name);
    text(item.querySelector(".on"), alert.service);
    text(item.querySelector(".about"), alert.summary);
    text(item.querySelector(".began"), alert.began);
    return item;
  };

  const show = (state) => {
    level(document.getElementById("summary"), state.level, state.summary);
    text(document.getElementById("data"), state.data.text);
    for (const service of state.services) {
      level(document.querySelector(`[data-service="${CSS.escape(service.name)}"] .level`), service.level, service.text);
    }
    if (!state.admin) return;
    const { alerts, facts } = state.admin;
    level(document.getElementById("alert-count"), alerts.level, alerts.summary);
    level(document.getElementById("alert-summary"), alerts.level, alerts.summary);
    text(document.getElementById("alert-note"), alerts.note);
    document.getElementById("alert-list").replaceChildren(...alerts.open.map(alertItem));
    for (const fact of facts) {
      const row = document.querySelector(`[data-fact="${CSS.escape(fact.name)}"]`);
      if (!row) continue;
      level(row.querySelector(".text"), fact.level, fact.text);
      text(row.querySelector(".detail"), fact.detail);
      const used = fact.usedPercent ?? 0;
      row.querySelector(".bar").toggleAttribute("hidden", fact.usedPercent === undefined);
      row.querySelector("rect").setAttribute("width", used);
      row.querySelector(".bar").dataset.level = fact.level;
    }
  };

  // What is on the page is not true anymore: nothing of it stays green.
  const lost = (why) => {
    for (const element of document.querySelectorAll("[data-level]")) element.dataset.level = "unknown";
    for (const element of document.querySelectorAll(".level, .text")) text(element, "Unknown");
    for (const element of document.querySelectorAll(".detail, #alert-note")) text(element, "");
    for (const element of document.querySelectorAll(".bar")) element.setAttribute("hidden", "");
    document.getElementById("alert-list")?.replaceChildren();
    for (const id of ["alert-count", "alert-summary"]) level(document.getElementById(id), "unknown", "Open alerts are unknown right now.");
    text(document.getElementById("summary"), "States are unknown right now.");
    text(document.getElementById("data"), why);
  };

  const refresh = async () => {
    clearTimeout(timer);
    try {
      const answer = await fetch("/api/state", {
        headers: { Accept: "application/json" }, redirect: "manual", cache: "no-store", signal: AbortSignal.timeout(10000),
      });
      if (answer.type === "opaqueredirect" || answer.status === 401 || answer.status === 403) {
        lost("Your session has ended: reload this page to sign in again.");
        return; // for good
      }
      if (!answer.ok) throw new Error(String(answer.status));
      const state = await answer.json();
      if (state.version !== 1 || state.layout !== root.dataset.layout) {
        location.reload();
        return;
      }
      good = Date.now();
      show(state);
    } catch {
      if (Date.now() - good > 3 * every) {
        const since = new Date(good).toLocaleTimeString("en", { hour: "2-digit", minute: "2-digit", hour12: false });
        lost(`The start page has not answered since ${since}.`);
      }
    }
    if (!document.hidden) timer = setTimeout(refresh, every);
  };

  document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : refresh()));
  addEventListener("pageshow", (event) => event.persisted && refresh());
  timer = setTimeout(refresh, every);
})();
