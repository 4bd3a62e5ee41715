/* One player for each task: camera, goal, charts, and a time slider over one of several episodes. */

const HOLD_MS = 1600;
const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;

const escaped = (text) => String(text).replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
const signed = (value) => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(2);

const CHARTS = `
  <div class="charts">
    <figure class="chart distance"><figcaption><span style="color:var(--distance)">distance to goal<span>dotted: random policy</span></span><b></b></figcaption></figure>
    <figure class="chart cost"><figcaption><span style="color:var(--cost)">predicted cost of the plan</span><b></b></figcaption></figure>
    <figure class="chart surprise"><figcaption><span style="color:var(--surprise)">surprise</span><b></b></figcaption></figure>
  </div>`;

const PLAYER = `
  <div class="chips" role="group" aria-label="episode"></div>
  <div class="stage">
    <figure class="camera"><figcaption><b>camera</b><span class="size"></span><span class="verdict"></span></figcaption>
      <canvas role="img" aria-label="what the camera sees"></canvas></figure>
    <figure><figcaption><b>goal</b><span class="size">as sent with each plan</span></figcaption>
      <canvas role="img" aria-label="goal image"></canvas></figure>
    ${CHARTS}
  </div>
  <div class="controls">
    <button class="play" type="button"></button>
    <input type="range" min="0" step="1" value="0" aria-label="control step">
    <button class="speed" type="button"></button>
    <button class="all" type="button" aria-pressed="true">all episodes</button>
  </div>
  <dl class="facts">
    <div><dt>time</dt><dd class="time"></dd></div>
    <div><dt>action</dt><dd class="action"></dd></div>
    <div><dt>newest plan took</dt><dd class="latency"></dd></div>
    <div><dt>result</dt><dd class="result"></dd></div>
  </dl>`;

class Player {
  constructor(root, task, sheets) {
    Object.assign(this, { root, task, step: 0, due: 0, speed: 1, playing: false, seen: false, wanted: !calm });
    root.innerHTML = PLAYER;
    this.find = (selector) => root.querySelector(selector);
    [this.camera, this.goal] = root.querySelectorAll("canvas");
    for (const canvas of [this.camera, this.goal]) [canvas.height, canvas.width] = task.image_px;
    const others = task.sensors.length > 1 ? `; the model takes ${task.sensors.join(", ")}` : "";
    this.find(".size").textContent = `${task.image_px[1]} × ${task.image_px[0]} px${others}`;
    this.sheets = sheets.map((sheet) => Object.assign(new Image(), { src: sheet.src, onload: () => this.paint() }));
    this.layout = sheets;
    const chart = (name, height, timeAxis = false) =>
      new Chart(this.find(`.${name}`), { height, timeAxis, onScrub: (seconds) => this.scrub(Math.round(seconds / task.dt_s)) });
    this.charts = { distance: chart("distance", 92), cost: chart("cost", 78), surprise: chart("surprise", 94, true) };
    this.listen();
    this.open(task.opening_episode);
    new IntersectionObserver(([entry]) => { this.seen = entry.isIntersecting; this.run(); }, { threshold: 0.3 }).observe(root);
  }

  listen() {
    this.find(".chips").innerHTML = this.task.rows.map((row, i) => `<button type="button" class="${row.success ? "good" : ""}" ` +
      `aria-label="episode ${i + 1}, ${row.success ? "goal reached" : "goal not reached"}">${row.success ? "✓" : "✗"} ${i + 1}</button>`).join("");
    this.chips = [...this.find(".chips").children];
    this.chips.forEach((chip, index) => chip.addEventListener("click", () => { this.open(index); this.wanted = true; this.run(); }));
    this.slider = this.find("input");
    this.slider.addEventListener("input", () => this.scrub(+this.slider.value));
    this.find(".play").addEventListener("click", () => {
      this.wanted = !this.wanted;
      if (this.wanted && this.step === this.last) this.step = 0;
      this.run();
    });
    this.find(".speed").addEventListener("click", () => { this.speed = { 1: 2, 2: 0.5, 0.5: 1 }[this.speed]; this.paint(); });
    this.find(".all").addEventListener("click", (event) => event.currentTarget.setAttribute("aria-pressed", String(!this.playsAll)));
  }

  get playsAll() { return this.find(".all").getAttribute("aria-pressed") === "true"; }

  open(index) {
    const row = this.task.rows[index], seconds = (step) => step * this.task.dt_s;
    Object.assign(this, { index, row, step: 0, due: 0, last: row.distances.length - 1 });
    const series = (values) => values.map((value, step) => [seconds(step), value]);
    const plans = (key) => row.plans.filter((plan) => plan[key] !== null).map((plan) => [seconds(plan.step), plan[key]]);
    const end = seconds(this.last), threshold = this.task.surprise_threshold;
    const random = row.random_distances.slice(0, this.last + 1);
    this.charts.distance.show([{ points: series(row.distances), color: "var(--distance)" },
      { points: series(random), color: "var(--muted)", dashed: true }], end);
    this.charts.cost.show([{ points: plans("predicted_cost"), color: "var(--cost)", marks: true }], end);
    this.charts.surprise.show([{ points: plans("surprise"), color: "var(--surprise)", marks: true }], end,
      threshold === null ? undefined : { value: threshold, name: `alarm above ${short(threshold)}` });
    this.slider.max = this.last;
    this.chips.forEach((chip, i) => chip.setAttribute("aria-pressed", String(i === index)));
    this.paint();
  }

  scrub(step) {
    this.step = Math.min(this.last, Math.max(0, step));
    this.wanted = false;
    this.run();
  }

  /** Play when that is wanted and can be seen. */
  run() {
    const began = this.wanted && this.seen && !this.playing;
    this.playing = this.wanted && this.seen;
    if (began) {
      this.due = 0;
      requestAnimationFrame((now) => this.tick(now));
    }
    this.paint();
  }

  tick(now) {
    if (!this.playing) return;
    if (!this.due) this.due = now + this.wait();
    if (now >= this.due) {
      if (this.step < this.last) this.step += 1;
      else if (this.playsAll) this.open((this.index + 1) % this.task.rows.length);
      else this.step = 0;
      this.due = now + this.wait();
      this.paint();
    }
    requestAnimationFrame((later) => this.tick(later));
  }

  wait() { return this.step === this.last ? HOLD_MS : 1000 * this.task.dt_s / this.speed; }

  paint() {
    const { task, row, step } = this, seconds = step * task.dt_s, unit = task.distance_unit;
    this.copy(this.camera, step);
    this.copy(this.goal, this.layout[this.index].frames);
    Object.values(this.charts).forEach((chart) => chart.at(seconds));
    const say = (selector, text) => { this.find(selector).textContent = text; };
    say(".distance b", `${row.distances[step].toFixed(2)} ${unit}`);
    say(".cost b", short(this.charts.cost.value(seconds)));
    const surprise = this.charts.surprise.value(seconds);
    const alarm = task.surprise_threshold !== null && surprise > task.surprise_threshold;
    say(".surprise b", alarm ? `${short(surprise)}, above the alarm` : short(surprise));
    this.find(".surprise b").className = alarm ? "alarm" : "";
    say(".time", `${seconds.toFixed(2)} s\nstep ${step} of ${this.last}`);
    const action = row.actions[Math.min(step, row.actions.length - 1)];
    say(".action", task.action_names.map((name, i) => `${name} ${signed(action[i])} ${task.action_units[i]}`).join("\n"));
    const plan = row.plans.filter((each) => each.step <= step).pop();
    say(".latency", `${short(plan.latency_ms)} ms over HTTP\n${short(plan.server_ms)} ms in the server`);
    const reached = `goal reached in ${((row.steps_to_success ?? 0) * task.dt_s).toFixed(2)} s`;
    const result = row.success ? reached : `goal not reached in ${(this.last * task.dt_s).toFixed(2)} s`;
    say(".result", result);
    say(".verdict", row.success ? "✓ reached" : "✗ not reached");
    this.find(".camera").className = `camera ${step === this.last ? "ended" : ""} ${row.success ? "good" : ""}`;
    say(".play", this.wanted ? "Pause" : "Play");
    say(".speed", `speed ${this.speed}×`);
    this.slider.value = step;
  }

  copy(canvas, cell) {
    const { columns } = this.layout[this.index], [height, width] = this.task.image_px, sheet = this.sheets[this.index];
    if (!sheet.complete) return;
    canvas.getContext("2d").drawImage(sheet, cell % columns * width, Math.floor(cell / columns) * height, width, height, 0, 0, width, height);
  }
}
