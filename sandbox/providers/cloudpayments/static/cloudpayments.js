/* Stand-in of the provider's widget script: the same calls, a form of the sandbox in an overlay. */
(function (global) {
  "use strict";
  var script = document.currentScript;
  var base = new URL(script ? script.src : location.href).origin;

  function fail(message) {
    return { type: "error", status: "reject", data: { message: message } };
  }

  function overlay(path, english, settle, autoClose) {
    var previous = document.activeElement;
    var box = document.createElement("div");
    box.setAttribute("role", "dialog");
    box.setAttribute("aria-modal", "true");
    box.setAttribute("aria-label", english ? "Card payment" : "Оплата картой");
    box.id = "cloudpayments-overlay";
    box.style.cssText = "position:fixed;inset:0;z-index:2147483000;background:rgba(16,24,32,.6);display:flex;align-items:center;justify-content:center;padding:8px;box-sizing:border-box";
    var panel = document.createElement("div");
    panel.style.cssText = "position:relative;width:100%;max-width:420px;height:min(480px,100%);background:#fff;border-radius:12px;overflow:hidden";
    var frame = document.createElement("iframe");
    frame.src = base + path;
    frame.title = english ? "Card payment" : "Оплата картой";
    frame.style.cssText = "width:100%;height:100%;border:0";
    var close = document.createElement("button");
    close.type = "button";
    close.textContent = "×";
    close.setAttribute("aria-label", english ? "Close" : "Закрыть");
    close.style.cssText = "position:absolute;top:8px;right:8px;width:40px;height:40px;min-height:0;margin:0;padding:0;box-shadow:none;font-size:24px;line-height:1;border:0;border-radius:20px;background:#e8edf2;color:#1d2733;cursor:pointer";
    panel.appendChild(frame);
    panel.appendChild(close);
    box.appendChild(panel);
    document.body.appendChild(box);
    close.focus();

    var last = null;
    var timer = null;
    function done() {
      clearTimeout(timer);
      global.removeEventListener("message", hear);
      document.removeEventListener("keydown", escape);
      box.remove();
      if (previous && previous.focus) { previous.focus(); }
      settle(last || { type: "cancel", status: "cancel", data: {} });
    }
    function hear(event) {
      if (event.source !== frame.contentWindow || event.origin !== base || !event.data || !event.data.cloudpayments) { return; }
      if (event.data.cloudpayments === "size") { panel.style.height = "min(" + Number(event.data.height) + "px,100%)"; return; }
      last = event.data.result;
      if (event.data.cloudpayments === "close") { done(); }
      else if (last.status === "success") { timer = setTimeout(done, autoClose * 1000); }
    }
    function escape(event) { if (event.key === "Escape") { done(); } }
    global.addEventListener("message", hear);
    document.addEventListener("keydown", escape);
    close.addEventListener("click", done);
  }

  function CloudPayments(options) { this.options = options || {}; }

  CloudPayments.prototype.start = function (parameters) {
    var intent = Object.assign({}, parameters);
    if (!intent.culture && this.options.language) { intent.culture = this.options.language; }
    var english = /^en/i.test(intent.culture || "");
    return fetch(base + "/widget/intents", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(intent)
    }).then(function (answer) {
      return answer.json().then(function (body) { return answer.ok ? body : Promise.reject(new Error(body.message)); });
    }).then(function (body) {
      return new Promise(function (resolve) {
        overlay(body.path, english, function (result) {
          resolve(result);
          var target = result.type === "payment" && (result.status === "success" ? intent.successRedirectUrl : intent.failRedirectUrl);
          if (target) { location.href = target; }
        }, Math.min(10, Number(intent.autoClose) || 2));
      });
    }, function (error) { return fail(error.message); });
  };

  CloudPayments.prototype.pay = function (scheme, options, callbacks) {
    var on = callbacks || {};
    var intent = Object.assign({}, options, {
      publicTerminalId: options.publicId,
      externalId: options.invoiceId,
      paymentSchema: scheme === "auth" ? "Dual" : "Single",
      culture: this.options.language
    });
    return this.start(intent).then(function (result) {
      var success = result.type === "payment" && result.status === "success";
      if (success && on.onSuccess) { on.onSuccess(options); }
      if (!success && on.onFail) { on.onFail(result.type === "cancel" ? "User has cancelled" : String((result.data || {}).reasonCode || ""), options); }
      if (on.onComplete) { on.onComplete({ success: success, transactionId: (result.data || {}).transactionId }, options); }
      return result;
    });
  };

  ["charge", "auth"].forEach(function (scheme) {
    CloudPayments.prototype[scheme] = function (options, onSuccess, onFail) {
      return this.pay(scheme, options, {
        onSuccess: onSuccess,
        onFail: function (reason, given) { if (onFail) { onFail(reason, given); } }
      });
    };
  });

  /* Cryptograms for forms of the shop's own. The real ones are encrypted; these are only encoded. */
  function Checkout(options) { this.options = options || {}; }
  Checkout.prototype.createPaymentCryptogram = function (card) {
    var expires = card.expDateMonth ? card.expDateMonth + "/" + card.expDateYear : card.expires;
    return Promise.resolve("01" + btoa(JSON.stringify({ n: card.cardNumber, e: expires, c: card.cvv })));
  };

  global.cp = { CloudPayments: CloudPayments, Checkout: Checkout };
})(window);
