/* Keeps the page of an order fresh: server-sent events, polling where they do not come through. */
(function () {
  "use strict";
  var data = JSON.parse(document.getElementById("order-data").textContent);
  var box = document.getElementById("order");
  var FIRST_EVENT_MS = 4000;
  var SILENCE_MS = 45000;
  var POLL_MS = 1500;
  var OFFLINE_AFTER = 3;
  var GIVE_UP_MS = 60 * 60 * 1000;
  var begun = Date.now();
  var heard = 0;
  var failures = 0;
  var version = -1;
  var over = false;
  var source = null;
  var timer = 0;

  function part(id) { return document.getElementById(id); }
  function put(id, text) { var node = part(id); if (node.textContent !== text) { node.textContent = text; } }

  function show(seen) {
    failures = 0;
    part("offline").hidden = true;
    if (seen.version < version) { return; }
    version = seen.version;
    box.dataset.stage = seen.stage;
    box.dataset.tone = seen.tone;
    put("stage-title", seen.title);
    put("stage-text", seen.text);
    put("until", seen.until);
    put("receipt", seen.receipt);
    document.title = seen.title + " · " + data.brand;
    document.querySelectorAll(".steps li").forEach(function (item) {
      var step = Number(item.dataset.step);
      item.classList.toggle("done", step <= seen.step);
      if (step === seen.step + 1 && !seen.final) { item.setAttribute("aria-current", "step"); } else { item.removeAttribute("aria-current"); }
    });
    part("to-pay").hidden = !seen.pay_path;
    part("again").hidden = !seen.final;
    if (seen.final) { end(); }
  }

  function end() {
    over = true;
    clearTimeout(timer);
    if (source) { source.close(); }
  }

  function fail() {
    failures += 1;
    part("offline").hidden = failures < OFFLINE_AFTER;
  }

  function ask() {
    return fetch(data.status, { headers: { Accept: "application/json" }, credentials: "same-origin" })
      .then(function (answer) { return answer.ok ? answer.json() : Promise.reject(new Error(String(answer.status))); })
      .then(show);
  }

  /* Polls while no events come: slower and slower when that fails too. */
  function watch() {
    clearTimeout(timer);
    if (over || Date.now() - begun > GIVE_UP_MS) { return; }
    var quiet = Date.now() - (heard || begun);
    var listening = source && source.readyState !== 2 && quiet < (heard ? SILENCE_MS : FIRST_EVENT_MS);
    if (listening || document.hidden) { timer = setTimeout(watch, POLL_MS); return; }
    ask().catch(fail).then(function () {
      if (!over) { timer = setTimeout(watch, POLL_MS * Math.min(1 + failures, 8)); }
    });
  }

  function listen() {
    if (!window.EventSource) { return; }
    source = new EventSource(data.events, { withCredentials: true });
    source.onmessage = function (event) { heard = Date.now(); show(JSON.parse(event.data)); };
    /* The browser comes back by itself; when it gives up (readyState 2), polling takes over. */
    source.onerror = function () { if (source.readyState === 2) { heard = 0; begun = Math.min(begun, Date.now() - FIRST_EVENT_MS); } };
  }

  document.addEventListener("visibilitychange", function () { if (!document.hidden && !over) { ask().catch(fail); } });
  window.addEventListener("pageshow", function (event) { if (event.persisted && !over) { ask().catch(fail); } });
  listen();
  watch();
})();
