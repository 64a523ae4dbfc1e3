"use strict";
// Players whose signals run together, of which one is heard; tables that sort and filter. Nothing is fetched.
(() => {
  const FADE_S = 0.01; // a switch without a click
  const LEAD_S = 0.02; // from pressing play to the first sample, so that all signals start at one sample
  const MP3_DELAY_FRAMES = 1105; // of encoder and decoder, where a browser does not take it away itself

  const data = JSON.parse(document.getElementById("players-data").textContent);
  let context = null;
  let analyser = null;
  let current = null;

  function audio() {
    if (!context) {
      context = new AudioContext();
      analyser = context.createAnalyser();
      analyser.fftSize = 8192;
      analyser.connect(context.destination);
    }
    return context;
  }

  function bytes(text) {
    const raw = atob(text);
    const out = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i += 1) out[i] = raw.charCodeAt(i);
    return out.buffer;
  }

  const clock = (s) => `${Math.floor(s / 60)}:${(s % 60).toFixed(1).padStart(4, "0")}`;

  class Player {
    constructor(element, facts) {
      this.element = element;
      this.seconds = facts.seconds;
      this.signals = facts.signals;
      this.selected = 0;
      this.at = 0;
      this.playing = false;
      this.sources = [];
      this.loaded = null;
      const find = (name) => element.querySelector(name);
      [this.button, this.seekbar, this.timeText, this.loop, this.match] = [".play", ".seek", ".time", ".loop", ".match"].map(find);
      this.button.addEventListener("click", () => this.toggle());
      this.seekbar.addEventListener("input", () => this.seek(Number(this.seekbar.value)));
      this.loop.addEventListener("change", () => this.seek(this.position()));
      if (this.match) this.match.addEventListener("change", () => this.mix());
      this.radios = [...element.querySelectorAll("input[type=radio]")];
      for (const radio of this.radios) {
        radio.addEventListener("change", () => this.select(Number(radio.value)));
        const wave = radio.parentElement.querySelector(".wave");
        wave.addEventListener("click", (event) => {
          const box = wave.getBoundingClientRect();
          this.seek(((event.clientX - box.left) / box.width) * this.seconds);
        });
      }
      element.addEventListener("keydown", (event) => this.onKey(event));
      this.radios[this.selected].checked = true; // a browser may bring back what was checked before a reload
      this.draw();
    }

    onKey(event) {
      if (event.altKey || event.ctrlKey || event.metaKey) return;
      const number = Number(event.key) - 1;
      if (event.key === " " && event.target.type === "radio") {
        event.preventDefault();
        this.toggle();
      } else if (/^[1-9]$/.test(event.key) && this.radios[number]) {
        event.preventDefault();
        this.radios[number].focus();
        this.select(number);
      }
    }

    load() {
      this.loaded ??= Promise.all(this.signals.map((each) => (each.mp3 ? audio().decodeAudioData(bytes(each.mp3)) : null))).then((buffers) => {
        this.buffers = buffers;
        this.gains = buffers.map((buffer) => {
          if (!buffer) return null;
          const gain = audio().createGain();
          gain.gain.value = 0;
          gain.connect(analyser);
          return gain;
        });
        const [buffer] = buffers.filter(Boolean);
        this.lead = buffer.duration - this.seconds > 0.01 ? MP3_DELAY_FRAMES / buffer.sampleRate : 0;
        for (const each of this.signals) each.mp3 = each.mp3 ? true : ""; // the text is no longer needed
      });
      return this.loaded;
    }

    position() {
      if (!this.playing) return this.at;
      const since = Math.max(0, context.currentTime - this.startedAt);
      return this.looping ? since % this.seconds : Math.min(since, this.seconds);
    }

    async play() {
      if (current && current !== this) current.pause();
      current = this;
      const ready = audio().resume(); // inside the click that allows sound
      this.element.setAttribute("aria-busy", "true");
      try {
        await ready;
        await this.load();
        if (current === this && !this.playing) this.start();
      } catch (error) {
        this.fail(`This browser cannot play it: ${error.message || error}`);
      }
      this.element.removeAttribute("aria-busy");
    }

    start() {
      if (this.at >= this.seconds - 0.01) this.at = 0;
      const when = context.currentTime + LEAD_S;
      this.looping = this.loop.checked;
      this.startedAt = when - this.at;
      this.sources = this.buffers.map((buffer, index) => {
        if (!buffer) return null;
        const source = context.createBufferSource();
        source.buffer = buffer;
        source.connect(this.gains[index]);
        if (this.looping) {
          source.loop = true;
          source.loopStart = this.lead;
          source.loopEnd = this.lead + this.seconds;
          source.start(when, this.lead + this.at);
        } else {
          source.start(when, this.lead + this.at, this.seconds - this.at);
        }
        return source;
      });
      const last = this.sources.find(Boolean);
      last.onended = () => {
        if (this.sources.includes(last)) {
          this.halt();
          this.at = 0;
          this.draw();
        }
      };
      this.playing = true;
      this.mix();
      this.draw();
      this.tick();
    }

    halt() {
      this.at = this.position();
      this.playing = false;
      for (const source of this.sources.filter(Boolean)) {
        source.onended = null;
        source.stop();
        source.disconnect();
      }
      this.sources = [];
    }

    pause() {
      if (current === this) current = null; // also stops one that is still being decoded
      if (this.playing) this.halt();
      this.draw();
    }

    toggle() {
      return this.playing ? this.pause() : this.play();
    }

    seek(to) {
      const was = this.playing;
      if (was) this.halt();
      this.at = Math.min(Math.max(0, to), this.seconds);
      if (was) this.start();
      this.draw();
    }

    select(index) {
      this.selected = index;
      this.radios[index].checked = true;
      this.mix();
    }

    mix() {
      if (!this.gains) return;
      const chosen = this.signals[this.selected];
      const heard = chosen.sums.length ? chosen.sums : [this.selected];
      const level = this.match && this.match.checked ? chosen.match : 1;
      const now = context.currentTime;
      this.gains.forEach((node, index) => {
        if (!node) return;
        const gain = node.gain;
        gain.cancelScheduledValues(now);
        gain.setValueAtTime(gain.value, now);
        gain.linearRampToValueAtTime(heard.includes(index) ? level : 0, now + FADE_S);
      });
    }

    fail(text) {
      const place = this.element.querySelector(".problem");
      place.textContent = text;
      place.hidden = false;
    }

    draw() {
      const at = this.position();
      this.element.classList.toggle("playing", this.playing);
      this.element.querySelector(".play-text").textContent = this.playing ? "Pause" : "Play";
      this.element.style.setProperty("--at", at / this.seconds);
      this.seekbar.value = at;
      this.seekbar.setAttribute("aria-valuetext", `${at.toFixed(1)} of ${this.seconds.toFixed(1)} seconds`);
      this.timeText.textContent = `${clock(at)} / ${clock(this.seconds)}`;
    }

    tick() {
      if (!this.playing) return;
      this.draw();
      requestAnimationFrame(() => this.tick());
    }
  }

  const players = data.map((facts, index) => {
    const element = document.querySelector(`[data-player="${index}"]`);
    return facts.signals.length ? new Player(element, facts) : null;
  });

  // What is heard now, in dB relative to full scale: for tests, and for whoever wants to know whether the sound is on.
  function level() {
    if (!analyser) return -Infinity;
    const samples = new Float32Array(analyser.fftSize);
    analyser.getFloatTimeDomainData(samples);
    return 10 * Math.log10(samples.reduce((sum, x) => sum + x * x, 0) / samples.length);
  }
  window.stemwright = { players, level, analyser: () => analyser };

  function keyOf(cell) {
    const text = cell.dataset.value ?? cell.textContent.trim();
    const number = Number(text);
    return text !== "" && Number.isFinite(number) ? number : text;
  }

  function compare(a, b) {
    if (typeof a === "number" && typeof b === "number") return a - b;
    return String(a).localeCompare(String(b), "en", { numeric: true, sensitivity: "base" });
  }

  function sortBy(table, header) {
    const column = header.cellIndex;
    const falling = header.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", falling ? "descending" : "ascending");
    const keyed = [...table.tBodies[0].rows].map((row) => [keyOf(row.cells[column]), row]);
    keyed.sort(([a], [b]) => {
      if ((a === "") !== (b === "")) return a === "" ? 1 : -1; // what has no value stands last either way
      return falling ? compare(b, a) : compare(a, b);
    });
    table.tBodies[0].append(...keyed.map(([, row]) => row));
  }

  function filter(table) {
    const words = document.querySelector(`[data-filters="${table.id}"]`).value.toLowerCase().split(/\s+/).filter(Boolean);
    const select = document.querySelector(`[data-selects="${table.id}"]`);
    const rows = [...table.tBodies[0].rows];
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word)) || Boolean(select && select.value && row.cells[0].textContent !== select.value);
    }
    const shown = rows.filter((row) => !row.hidden).length;
    document.querySelector(`[data-counts="${table.id}"]`).textContent = shown === rows.length ? `${shown} rows` : `${shown} of ${rows.length} rows`;
  }

  for (const table of document.querySelectorAll("table.sortable")) {
    for (const button of table.querySelectorAll("th button")) button.addEventListener("click", () => sortBy(table, button.parentElement));
    for (const input of document.querySelectorAll(`[data-filters="${table.id}"], [data-selects="${table.id}"]`)) {
      input.addEventListener("input", () => filter(table));
    }
    filter(table);
  }
})();
