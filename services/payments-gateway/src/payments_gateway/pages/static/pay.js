/* The pay page: starts an attempt, opens the provider's widget, and shows what the provider's callback decided. */
(function () {
  "use strict";
  var data = JSON.parse(document.getElementById("pay-data").textContent);
  var texts = data.texts;
  var box = document.getElementById("invoice");
  var state = document.getElementById("state");
  var failure = document.getElementById("failure");
  var button = document.getElementById("pay");
  var home = document.getElementById("home");
  var SLOW_AFTER_MS = 15000;
  var GIVE_UP_AFTER_MS = 15 * 60 * 1000;
  var LEAVE_AFTER_MS = 800;
  /* A drink that could not be made may be refunded before its payment was seen here. */
  var SETTLED = ["paid", "refunded", "refunded_part"];
  var watching = 0;
  var leaving = false;

  function text(name) { return texts[name] || ""; }

  function show(name, message) {
    box.dataset.state = name;
    state.textContent = message || text("state_" + name);
    state.classList.toggle("good", name === "paid" || name === "held");
    state.classList.toggle("bad", name === "expired" || name === "canceled");
    var open = name === "payable" || name === "waiting";
    if (!open) { failure.hidden = true; }
    if (button) { button.hidden = name !== "payable"; }
    /* Who came from an order may go back to it at any time, and is led there once the money has arrived. */
    home.hidden = open && !data.back;
    if (SETTLED.indexOf(name) >= 0 && data.back && !leaving) {
      leaving = true;
      setTimeout(function () { location.assign(data.back); }, LEAVE_AFTER_MS);
    }
    ["until", "secure"].forEach(function (id) {
      var part = document.getElementById(id);
      if (part) { part.hidden = !open; }
    });
  }

  function fail(message) {
    failure.textContent = message;
    failure.hidden = !message;
    if (message && button) { button.textContent = text("js_retry"); }
  }

  function ready(busy) {
    if (!button) { return; }
    button.disabled = busy;
    if (busy) { button.setAttribute("aria-busy", "true"); } else { button.removeAttribute("aria-busy"); }
  }

  function pause(ms) { return new Promise(function (resolve) { setTimeout(resolve, ms); }); }

  function key() {
    if (window.crypto.randomUUID) { return window.crypto.randomUUID(); }
    var bytes = window.crypto.getRandomValues(new Uint8Array(16));
    return Array.from(bytes, function (byte) { return byte.toString(16).padStart(2, "0"); }).join("");
  }

  function load(url) {
    if (window.cp && window.cp.CloudPayments) { return Promise.resolve(); }
    return new Promise(function (resolve, reject) {
      var script = document.createElement("script");
      script.src = url;
      script.onload = resolve;
      script.onerror = function () { script.remove(); reject(new Error("widget")); };
      document.head.appendChild(script);
    });
  }

  function ask(waitSeconds) {
    return fetch(data.api + "/invoices/" + data.invoiceId, {
      headers: { Accept: "application/json", Prefer: "wait=" + waitSeconds },
      credentials: "same-origin"
    }).then(function (answer) { return answer.ok ? answer.json() : Promise.reject(new Error(String(answer.status))); });
  }

  function failureText(attempt) {
    return text("failure_" + attempt.failure.code) || text("failure_declined");
  }

  /* Ask until the invoice is settled or this attempt has failed. `closed` says that the payer closed the window. */
  function watch(paymentId, closed) {
    var turn = ++watching;
    var begun = Date.now();
    if (closed) { show("payable", text("js_closed")); ready(false); } else { show("waiting"); }
    function step() {
      if (turn !== watching) { return Promise.resolve(); }
      return ask(5).then(function (seen) {
        if (turn !== watching) { return null; }
        var name = data.states[seen.status] || "unknown";
        if (name !== "payable") { show(name); return null; }
        var attempt = seen.attempt;
        if (attempt && attempt.failure && (!paymentId || attempt.payment_id >= paymentId)) {
          show("payable");
          fail(failureText(attempt));
          ready(false);
          return null;
        }
        return again();
      }, again);
    }
    function again() {
      var spent = Date.now() - begun;
      if (turn !== watching || spent > GIVE_UP_AFTER_MS) { ready(false); return null; }
      if (spent > SLOW_AFTER_MS && !closed) { show("waiting", text("js_slow")); }
      return pause(spent > SLOW_AFTER_MS ? 2000 : 300).then(step);
    }
    return step();
  }

  function start() {
    watching++;
    ready(true);
    fail("");
    state.textContent = text("js_opening");
    var started;
    fetch(data.api + "/pay/" + data.invoiceId, {
      method: "POST",
      headers: { "Content-Type": "application/json", Accept: "application/json", "Idempotency-Key": key() },
      credentials: "same-origin",
      body: JSON.stringify({ language: data.language })
    }).then(function (answer) {
      if (answer.status === 201) { return answer.json(); }
      throw Object.assign(new Error("start"), { status: answer.status });
    }).then(function (body) {
      started = body;
      return load(body.script);
    }).then(function () {
      return new window.cp.CloudPayments().start(started.widget);
    }).then(function (result) {
      ready(false);
      var outcome = result || {};
      if (outcome.type === "error") { throw new Error("widget"); }
      /* The widget's word is for the eyes only: what counts is the callback that the status tells of. */
      return watch(started.payment_id, outcome.type === "cancel");
    }).catch(function (error) {
      ready(false);
      show("payable");
      if (error.status === 409) { return refresh().then(function () { fail(text("js_not_payable")); }); }
      fail(text(error.status === 429 ? "js_too_many" : "js_error"));
      return null;
    });
  }

  function refresh() {
    return ask(0).then(function (seen) { show(data.states[seen.status] || "unknown"); }, function () { return null; });
  }

  /* Until here a press would be lost: the page comes with the button disabled. */
  if (button) { button.addEventListener("click", start); ready(false); }
  /* Come back from another app or tab, or a payment made elsewhere: look again. */
  document.addEventListener("visibilitychange", function () {
    if (!document.hidden && box.dataset.state === "payable" && (!button || !button.disabled)) { refresh(); }
  });
})();
