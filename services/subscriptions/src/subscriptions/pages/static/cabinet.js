// The cabinet's script: signing in, signing out, and keeping the page fresh. Everything else is plain forms.
"use strict";

(() => {
  const AUTH = "/auth/api/v1";
  const POLL_BUSY_MS = 1500;
  const POLL_IDLE_MS = 20000;

  const post = (path, body) => fetch(AUTH + path, {
    method: "POST",
    credentials: "same-origin",
    headers: { "Content-Type": "application/json", Accept: "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
  });

  // What went wrong, in the reader's language: the texts are the page's, the problem's type picks one.
  const problemText = async (answer, texts) => {
    try {
      const problem = await answer.json();
      return texts[problem.type.split(":").pop()] || texts.other;
    } catch {
      return texts.other;
    }
  };

  const setUpEntering = (form) => {
    const error = document.getElementById("enter-error");
    const buttons = form.querySelectorAll("button");
    const say = (text) => { error.textContent = text; error.hidden = !text; };
    const problems = JSON.parse(form.dataset.problems);
    buttons.forEach((button) => { button.disabled = false; });
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const email = form.elements.email.value.trim();
      const password = form.elements.password.value;
      if (!email || !password) { say(form.dataset.incomplete); return; }
      say("");
      buttons.forEach((button) => { button.disabled = true; });
      try {
        if (event.submitter && event.submitter.value === "register") {
          const registered = await post("/register", { email, password });
          if (!registered.ok) { say(await problemText(registered, problems)); return; }
        }
        const entered = await post("/login", { email, password, session: true });
        if (!entered.ok) { say(await problemText(entered, problems)); return; }
        const url = new URL(location.href);
        url.hash = "";
        url.searchParams.delete("problem");
        location.replace(url);
      } catch {
        say(form.dataset.network);
      } finally {
        buttons.forEach((button) => { button.disabled = false; });
      }
    });
  };

  const setUpLeaving = async (button) => {
    button.hidden = false;
    button.addEventListener("click", async () => {
      button.disabled = true;
      try { await post("/logout"); } finally { location.replace("/"); }
    });
    try {
      const me = await fetch(AUTH + "/me", { credentials: "same-origin", headers: { Accept: "application/json" } });
      if (me.ok) document.getElementById("who").textContent = (await me.json()).email || "";
    } catch { /* The page works without the name. */ }
  };

  const keepFresh = (panel) => {
    let last = panel.innerHTML;
    let timer = 0;
    const isBusy = () => panel.querySelector("[data-busy]")?.dataset.busy === "yes";
    const isInUse = () => panel.contains(document.activeElement) || panel.querySelector("details[open]") !== null;
    const refresh = async () => {
      clearTimeout(timer);
      if (!document.hidden) {
        try {
          const answer = await fetch(panel.dataset.url, { credentials: "same-origin" });
          if (answer.status === 401) { location.reload(); return; }
          if (answer.ok) {
            const before = statuses();
            const html = await answer.text();
            // What the reader has open or is pressing stays put; it is replaced the next time.
            if (html !== last && !isInUse()) {
              panel.innerHTML = html;
              last = html;
              if (statuses() !== before) location.replace(clean());
            }
          }
        } catch { /* Offline: the next round will tell. */ }
      }
      timer = setTimeout(refresh, isBusy() ? POLL_BUSY_MS : POLL_IDLE_MS);
    };
    // The list of plans depends on what one has, so a changed status reloads the page once.
    const statuses = () => [...panel.querySelectorAll("[data-subscription]")]
      .map((card) => card.dataset.subscription + card.dataset.status).join();
    const clean = () => {
      const url = new URL(location.href);
      ["done", "problem", "plan"].forEach((name) => url.searchParams.delete(name));
      return url;
    };
    document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
    timer = setTimeout(refresh, isBusy() ? POLL_BUSY_MS : POLL_IDLE_MS);
  };

  const form = document.getElementById("enter-form");
  if (form) setUpEntering(form);
  const logout = document.getElementById("logout");
  if (logout) setUpLeaving(logout);
  const panel = document.getElementById("panel");
  if (panel) keepFresh(panel);
})();
