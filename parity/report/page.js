"use strict";
(() => {
  const clips = JSON.parse(document.getElementById("clips").textContent);
  const seconds = (value) => value.toFixed(1) + " s";
  const players = [...document.querySelectorAll(".listen[data-player]")].map(player);

  // Both voices run together and one of them is mute, so that a switch is heard at once and keeps the position.
  function player(card) {
    const voices = [...card.querySelectorAll("audio")];
    const play = card.querySelector(".play");
    const seek = card.querySelector("input[type=range]");
    const clock = card.querySelector(".clock");
    const buttons = [...card.querySelectorAll(".switch button")];
    const from = Number(card.dataset.from), whole = Number(card.dataset.whole);
    let chosen = 0;

    const length = () => Math.max(...voices.map((voice) => voice.duration || 0));
    const longest = () => voices.find((voice) => voice.duration === length()) || voices[0];
    const at = () => Math.max(...voices.map((voice) => voice.currentTime));

    function draw() {
      const now = at();
      clock.textContent = seconds(now) + " / " + seconds(length());
      seek.value = String(length() ? now / length() : 0);
      for (const head of card.querySelectorAll(".head")) head.style.left = (100 * (from + now)) / whole + "%";
      if (!longest().paused) requestAnimationFrame(draw);
    }
    function go(time) {
      card.classList.add("begun");
      for (const voice of voices) voice.currentTime = Math.min(Math.max(time, 0), voice.duration || 0);
      draw();
    }
    function choose(index) {
      chosen = index;
      const now = at();
      voices.forEach((voice, place) => {
        voice.muted = place !== chosen;
        if (Math.abs(voice.currentTime - now) > 0.03 && now < voice.duration) voice.currentTime = now;
      });
      buttons.forEach((button, place) => button.setAttribute("aria-pressed", String(place === chosen)));
    }
    function stop() {
      voices.forEach((voice) => voice.pause());
    }
    async function start() {
      players.forEach((other) => other.stop());
      card.classList.add("begun");
      if (at() >= length() - 0.01) go(0);
      choose(chosen);
      await Promise.all(voices.filter((voice) => !voice.ended).map((voice) => voice.play()));
      draw();
    }

    voices.forEach((voice) => {
      voice.addEventListener("loadedmetadata", () => {
        voice.dataset.seconds = voice.duration.toFixed(4);
        draw();
      });
      voice.addEventListener("error", () => { clock.textContent = "cannot be played here"; });
      voice.src = clips[voice.dataset.clip];
    });
    const said = () => { play.textContent = longest().paused ? "▶ Play" : "❚❚ Pause"; };
    voices.forEach((voice) => ["play", "pause", "ended"].forEach((name) => voice.addEventListener(name, said)));
    play.addEventListener("click", () => (longest().paused ? start() : stop()));
    seek.addEventListener("input", () => go(Number(seek.value) * length()));
    buttons.forEach((button, place) => button.addEventListener("click", () => choose(place)));
    card.addEventListener("keydown", (event) => {
      if (event.key === "a" || event.key === "b") choose(event.key === "a" ? 0 : 1);
    });
    for (const plot of card.querySelectorAll(".plot")) {
      plot.addEventListener("click", (event) => {
        const box = plot.getBoundingClientRect();
        go(((event.clientX - box.left) / box.width) * whole - from);
      });
    }
    choose(0);
    return { stop };
  }

  // A link to a stage opens it.
  function open() {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target instanceof HTMLDetailsElement) target.open = true;
  }
  addEventListener("hashchange", open);
  open();
  document.documentElement.dataset.ready = "yes";
})();
