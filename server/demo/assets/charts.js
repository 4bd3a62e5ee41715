/* Line charts over time, drawn as SVG at the size that they have on the screen. */

let chartCount = 0;

/** A number that fits beside a chart: three digits that matter. */
function short(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  return size >= 100 ? value.toFixed(0) : size >= 10 ? value.toFixed(1) : size >= 0.1 || size === 0 ? value.toFixed(2) : value.toPrecision(2);
}

/** Round numbers from 0 to at least `most`, three or four of them. */
function ticks(most) {
  const rough = most / 3, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 2.5, 5, 10].find((factor) => factor * power >= rough - 1e-12);
  const marks = [];
  for (let value = 0; value < most + step - 1e-9; value += step) marks.push(value);
  return marks;
}

/**
 * A chart in `figure`. `lines` are {points: [[seconds, value]], color, dashed, marks}: the first one is read out.
 * `alarm` is {value, name}: a line that values should stay below. `onScrub(seconds)` follows a pointer.
 */
class Chart {
  constructor(figure, { height, timeAxis, onScrub }) {
    this.figure = figure;
    this.size = { height, timeAxis };
    this.id = `clip${chartCount++}`;
    this.seconds = 0;
    const scrub = (event) => {
      const box = this.plot.getBoundingClientRect();
      const share = (event.clientX - box.left - this.left) / (this.right - this.left);
      onScrub(Math.min(1, Math.max(0, share)) * this.end);
    };
    figure.addEventListener("pointerdown", (event) => { figure.setPointerCapture(event.pointerId); scrub(event); });
    figure.addEventListener("pointermove", (event) => { if (event.buttons) scrub(event); });
    new ResizeObserver(() => this.draw()).observe(figure);
  }

  show(lines, end, alarm) {
    Object.assign(this, { lines, end: Math.max(end, 1e-9), alarm });
    this.draw();
  }

  draw() {
    if (!this.lines || !this.figure.clientWidth) return;
    const { height, timeAxis } = this.size, width = this.figure.clientWidth;
    const largest = Math.max(1e-9, this.alarm ? this.alarm.value : 0, ...this.lines.flatMap((l) => l.points.map((p) => p[1])));
    const marks = ticks(largest), top = marks[marks.length - 1];
    this.left = 40;
    this.right = width - 8;
    const bottom = height - (timeAxis ? 20 : 6), ceiling = 8;
    this.x = (seconds) => this.left + (this.right - this.left) * seconds / this.end;
    this.y = (value) => bottom - (bottom - ceiling) * value / top;
    const grid = marks.map((m) => `<path d="M${this.left} ${this.y(m)}H${this.right}" stroke="var(--line)"/>` +
      `<text x="${this.left - 7}" y="${this.y(m) + 4}" text-anchor="end">${+m.toPrecision(3)}</text>`);
    const axis = !timeAxis ? [] : ticks(this.end).filter((s) => s <= this.end + 1e-9)
      .map((s) => `<text x="${this.x(s)}" y="${height - 3}" text-anchor="middle">${+s.toPrecision(3)} s</text>`);
    this.plot?.remove();
    this.figure.insertAdjacentHTML("beforeend", `<svg height="${height}" viewBox="0 0 ${width} ${height}" aria-hidden="true">` +
      `<clipPath id="${this.id}"><rect x="0" y="-9" height="${height + 18}"/></clipPath>` + grid.join("") + axis.join("") +
      this.alarmLine() + `<g opacity=".28">${this.curves()}</g><g clip-path="url(#${this.id})">${this.curves()}</g>` +
      `<path class="now" d="M0 ${ceiling - 4}V${bottom}" stroke="var(--muted)"/></svg>`);
    this.plot = this.figure.lastElementChild;
    this.at(this.seconds);
  }

  alarmLine() {
    if (!this.alarm) return "";
    const y = this.y(this.alarm.value);
    return `<path d="M${this.left} ${y}H${this.right}" stroke="var(--bad)" stroke-dasharray="5 4"/>` +
      `<text class="alarm" x="${this.right}" y="${y < 20 ? y + 14 : y - 5}" text-anchor="end">${this.alarm.name}</text>`;
  }

  curves() {
    return this.lines.map(({ points, color, dashed, marks }) => {
      const path = points.map(([s, v], i) => `${i ? "L" : "M"}${this.x(s).toFixed(1)} ${this.y(v).toFixed(1)}`).join("");
      const dots = !marks ? "" : points.map(([s, v]) => `<circle cx="${this.x(s).toFixed(1)}" cy="${this.y(v).toFixed(1)}" r="3.5" ` +
        `fill="${this.alarm && v > this.alarm.value ? "var(--bad)" : color}"/>`).join("");
      const style = dashed ? 'stroke-width="1.5" stroke-dasharray="2 4" stroke-linecap="round"' : 'stroke-width="2"';
      return `<path d="${path}" fill="none" stroke="${color}" ${style} stroke-linejoin="round"/>${dots}`;
    }).join("");
  }

  at(seconds) {
    this.seconds = seconds;
    if (!this.plot) return;
    const x = this.x(Math.min(seconds, this.end));
    this.plot.querySelector("rect").setAttribute("width", x + 4);
    this.plot.querySelector(".now").setAttribute("transform", `translate(${x} 0)`);
  }

  /** The newest value of the first line at `seconds`, null before there is one. */
  value(seconds) {
    const past = this.lines[0].points.filter(([s]) => s <= seconds + 1e-9);
    return past.length ? past[past.length - 1][1] : null;
  }
}
