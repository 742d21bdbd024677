// Refreshes the live part of a page when the server says so, and keeps "3 min ago" true. Without it a page is as it was loaded.
"use strict";
(() => {
  const live = document.getElementById("live");
  const away = document.getElementById("away");
  let tag = "", seen = new Date(), asking = false;

  const steps = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  function ago(seconds) {
    const [length, unit] = steps.find(([length]) => Math.abs(seconds) >= length) || [1, "s"];
    if (Math.abs(seconds) < 1) return "now";
    const text = `${Math.trunc(Math.abs(seconds) / length)} ${unit}`;
    return seconds > 0 ? `${text} ago` : `in ${text}`;
  }
  function age() {
    for (const one of document.querySelectorAll("time[datetime]")) {
      const text = ago((Date.now() - Date.parse(one.dateTime)) / 1000);
      if (one.textContent !== text) one.textContent = text;
    }
  }
  function show(id, hidden) {
    const one = document.getElementById(id);
    if (one) one.hidden = hidden;
  }
  function lost() {
    document.getElementById("away-since").textContent = seen.toLocaleTimeString();
    show("away", false);
  }
  function isBusy() {  // somebody types or marks a text
    const one = document.activeElement;
    return live.contains(one) && /^(INPUT|TEXTAREA|SELECT)$/.test(one.tagName) || getSelection().toString() !== "";
  }
  function isTheirs(name, one) {  // what somebody opened, typed, ticked or chose stays so, wherever they look meanwhile
    switch (name) {
      case "open": return one.tagName === "DETAILS";
      case "value": return one.type !== "hidden" && "defaultValue" in one && one.value !== one.defaultValue;
      case "checked": return one.checked !== one.defaultChecked;
      case "selected": return one.selected !== one.defaultSelected;
      default: return false;
    }
  }
  const hasTyped = () => [...live.querySelectorAll("input, textarea")].some((one) => isTheirs("value", one));
  async function look() {
    if (asking || document.hidden || isBusy()) return;
    asking = true;
    try {
      const address = new URL(location);
      address.searchParams.set("partial", "1");
      const answer = await fetch(address, {headers: tag ? {"If-None-Match": tag} : {}, cache: "no-store"});
      if (answer.status === 401) return ended();
      if (answer.status === 200) {
        put(await answer.text());
        tag = answer.headers.get("ETag") || "";
      }
      if (answer.ok || answer.status === 304) { seen = new Date(); show("away", true); }
    } catch { lost(); } finally { asking = false; }
  }
  function put(html) {
    if (window.Idiomorph) {
      const callbacks = {beforeAttributeUpdated: (name, one) => !isTheirs(name, one)};
      Idiomorph.morph(live, html, {morphStyle: "innerHTML", ignoreActiveValue: true, callbacks});
    } else if (!live.contains(document.activeElement) && !live.querySelector("details[open]") && !hasTyped()) {
      live.innerHTML = html;
    }
    age();
  }
  function ended() { show("ended", false); pulse?.close(); }

  let pulse = null;
  if (live?.dataset.pulse) {
    pulse = new EventSource(live.dataset.pulse);
    pulse.addEventListener("look", look);
    pulse.addEventListener("gone", ended);
    pulse.onerror = () => { if (away.hidden) look(); };
    document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });
  }
  age();
  setInterval(age, 5000);
})();
