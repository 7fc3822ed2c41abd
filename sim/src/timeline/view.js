// The picture: scales, layout and drawing. It knows the run and what is looked at; it changes neither.

const run = JSON.parse(document.getElementById('run').textContent);
const canvas = document.getElementById('canvas');
const pen = canvas.getContext('2d');

/** Left of it stand the hosts' names. */
const LEFT = 96;
const AXIS = 20;
const LANE = 17;
const FONT = '12px system-ui, sans-serif';
const SMALL = '11px system-ui, sans-serif';

/** What is looked at: times in microseconds, the highlighted task, and where the pointer is. */
const look = { from: 0, to: run.end, task: run.task, cursor: null, hit: null };

/** Of each task its own bars, messages and copies: what is drawn on top. */
const own = run.tasks.map(() => ({ arrows: [], bars: [], copies: [] }));
for (const kind of ['arrows', 'bars', 'copies']) {
  for (const thing of run[kind]) own[thing.task][kind].push(thing);
}

const clamp = (value, least, most) => Math.min(Math.max(value, least), most);
const width = () => canvas.clientWidth;
const x = (at) => LEFT + ((at - look.from) / (look.to - look.from)) * (width() - LEFT);
const at = (px) => look.from + ((px - LEFT) / (width() - LEFT)) * (look.to - look.from);

function seconds(micros, digits = 3) {
  return `${(micros / 1e6).toFixed(digits)} s`;
}

/** Colours as the page's style has them, for light or dark. */
let ink = {};
function readColours() {
  const style = getComputedStyle(document.documentElement);
  for (const name of ['paper', 'ink', 'soft', 'line', 'row', 'ok', 'failed', 'broken', 'lost', 'bad', 'pick', 'message', 'backlog', 'down']) {
    ink[name] = style.getPropertyValue(`--${name}`).trim();
  }
  const dark = matchMedia('(prefers-color-scheme: dark)').matches;
  ink.fault = (index, alpha) => `hsl(${(index * 67 + 20) % 360} ${dark ? 55 : 60}% ${dark ? 62 : 42}% / ${alpha})`;
  hatch = null;
}

/** Faults in as few lines as possible, without one over another. */
const lanes = [];
function packFaults() {
  const spare = run.end / 40;
  for (const fault of [...run.faults].sort((one, other) => one.from - other.from)) {
    // An instant needs room for its name.
    const end = Math.max(fault.to, fault.from + spare * 4);
    let lane = lanes.findIndex((free) => free + spare < fault.from);
    if (lane < 0) lane = lanes.push(0) - 1;
    lanes[lane] = end;
    fault.lane = lane;
  }
}

/** Where each row is. Rows share what height there is; under their least height the picture scrolls. */
let rows = [];
let height = 0;
function layout() {
  const top = AXIS + lanes.length * LANE + (lanes.length ? 6 : 0);
  const wish = run.hosts.map((host) => (host.role === 'broker' ? 76 : host.role === 'producer' ? 30 : clamp(16 + host.slots * 7, 34, 130)));
  const total = wish.reduce((sum, one) => sum + one, 0);
  const room = canvas.parentElement.clientHeight - top - 4;
  const scale = clamp(room / total, 0.62, 1.8);
  let y = top;
  rows = wish.map((one) => {
    const row = { y, h: Math.floor(one * scale) };
    y += row.h;
    return row;
  });
  height = Math.max(y + 2, canvas.parentElement.clientHeight - 2);
  const ratio = devicePixelRatio || 1;
  canvas.style.height = `${height}px`;
  canvas.width = Math.round(width() * ratio);
  canvas.height = Math.round(height * ratio);
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
}

/** Where a bar is. Bars of one host share its row. */
function box(bar) {
  const row = rows[bar.host];
  const slots = Math.max(run.hosts[bar.host].slots, 1);
  const step = Math.min((row.h - 10) / slots, 20);
  const top = row.y + (row.h - step * slots) / 2;
  return { x: x(bar.from), y: top + bar.slot * step + 0.5, w: Math.max(x(bar.to) - x(bar.from), 1.5), h: Math.max(step - 1.5, 1) };
}

/** The ends of a message: at the edges of its rows that face each other. */
function line(arrow) {
  const [from, to] = [rows[arrow.from], rows[arrow.to]];
  const down = arrow.to > arrow.from;
  const y1 = down ? from.y + from.h - 3 : from.y + 3;
  const y2 = down ? to.y + 3 : to.y + to.h - 3;
  if (arrow.came === null) {
    // It is not known how far it got.
    return { x1: x(arrow.sent), y1, x2: x(arrow.sent), y2: y1 + (y2 - y1) * 0.35, lost: true };
  }
  return { x1: x(arrow.sent), y1, x2: x(arrow.came), y2, lost: false };
}

let hatch = null;
function hatching() {
  if (!hatch) {
    const tile = document.createElement('canvas');
    tile.width = tile.height = 8;
    const brush = tile.getContext('2d');
    brush.strokeStyle = ink.down;
    brush.lineWidth = 1.5;
    for (const shift of [-8, 0, 8]) {
      brush.moveTo(shift - 1, 9);
      brush.lineTo(shift + 9, -1);
    }
    brush.stroke();
    hatch = pen.createPattern(tile, 'repeat');
  }
  return hatch;
}

function draw() {
  pen.clearRect(0, 0, width(), height);
  pen.lineWidth = 1;
  drawRows();
  pen.save();
  pen.beginPath();
  pen.rect(LEFT, 0, width() - LEFT, height);
  pen.clip();
  drawTicks();
  drawFaults();
  drawBacklog();
  drawArrows();
  drawBars();
  drawTask();
  drawMoments();
  pen.restore();
  drawNames();
}

function drawRows() {
  rows.forEach((row, index) => {
    if (index % 2) return;
    pen.fillStyle = ink.row;
    pen.fillRect(0, row.y, width(), row.h);
  });
}

function drawNames() {
  pen.font = FONT;
  pen.textAlign = 'right';
  pen.textBaseline = 'middle';
  const busy = new Set(look.task === null ? [] : run.tasks[look.task].story.map(([, host]) => host));
  rows.forEach((row, index) => {
    pen.fillStyle = busy.has(index) ? ink.pick : ink.ink;
    pen.fillText(run.hosts[index].name, LEFT - 10, row.y + row.h / 2, LEFT - 14);
  });
  pen.fillStyle = ink.soft;
  if (lanes.length) pen.fillText('faults', LEFT - 10, AXIS + (lanes.length * LANE) / 2);
  pen.strokeStyle = ink.line;
  pen.strokeRect(LEFT - 0.5, -1, 1, height + 2);
}

function drawTicks() {
  const span = look.to - look.from;
  const least = (span / (width() - LEFT)) * 84;
  let step = 10 ** Math.floor(Math.log10(least));
  step *= [1, 2, 5, 10].find((times) => step * times >= least);
  const digits = clamp(6 - Math.floor(Math.log10(step)), 0, 6);
  pen.font = SMALL;
  pen.textAlign = 'left';
  pen.textBaseline = 'middle';
  for (let tick = Math.ceil(look.from / step) * step; tick <= look.to; tick += step) {
    const px = Math.round(x(tick)) + 0.5;
    pen.strokeStyle = ink.line;
    pen.beginPath();
    pen.moveTo(px, 0);
    pen.lineTo(px, height);
    pen.stroke();
    pen.fillStyle = ink.soft;
    pen.fillText(seconds(tick, digits), px + 4, AXIS / 2);
  }
}

function drawFaults() {
  run.hosts.forEach((host, index) => {
    for (const [from, to] of host.down) {
      pen.fillStyle = hatching();
      pen.fillRect(x(from), rows[index].y + 1, Math.max(x(to) - x(from), 2), rows[index].h - 2);
    }
  });
  pen.font = SMALL;
  pen.textAlign = 'left';
  pen.textBaseline = 'middle';
  for (const fault of run.faults) {
    const [left, right] = [x(fault.from), Math.max(x(fault.to), x(fault.from) + 2)];
    for (const host of fault.hosts) {
      const row = rows[host];
      pen.fillStyle = ink.fault(fault.index, 0.15);
      pen.fillRect(left, row.y, right - left, row.h);
      pen.fillStyle = ink.fault(fault.index, 0.7);
      pen.fillRect(left, row.y, 1, row.h);
    }
    const y = AXIS + fault.lane * LANE;
    pen.fillStyle = ink.fault(fault.index, fault === look.hit ? 0.5 : 0.3);
    pen.fillRect(left, y + 1, right - left, LANE - 3);
    pen.fillStyle = ink.fault(fault.index, 1);
    pen.fillRect(left, y + 1, 2, LANE - 3);
    // As far as the next one of its line.
    const next = Math.min(...run.faults.filter((other) => other.lane === fault.lane && other.from > fault.from).map((other) => x(other.from)), width());
    const start = Math.max(left + 6, LEFT + 4);
    if (next - start > 20 && next > LEFT) {
      pen.save();
      pen.beginPath();
      pen.rect(start, y, next - start - 4, LANE);
      pen.clip();
      pen.fillStyle = ink.ink;
      if (right > LEFT) pen.fillText(fault.text, start, y + LANE / 2);
      pen.restore();
    }
  }
}

/** How many messages wait: in the first row of the broker. */
function drawBacklog() {
  const place = run.hosts.findIndex((host) => host.role === 'broker');
  const most = Math.max(...run.backlog.map(([, number]) => number), 1);
  const row = rows[place];
  const y = (number) => row.y + row.h - 2 - (number / most) * (row.h - 20);
  pen.beginPath();
  pen.moveTo(x(0), y(0));
  let number = 0;
  for (const [when, then] of run.backlog) {
    pen.lineTo(x(when), y(number));
    pen.lineTo(x(when), y(then));
    number = then;
  }
  pen.lineTo(x(run.end), y(number));
  pen.lineTo(x(run.end), y(0));
  pen.globalAlpha = 0.55;
  pen.fillStyle = ink.backlog;
  pen.fill();
  pen.globalAlpha = 1;
  pen.font = SMALL;
  pen.textAlign = 'right';
  pen.textBaseline = 'bottom';
  pen.fillStyle = ink.soft;
  pen.fillText(`waiting messages, at most ${most}`, width() - 6, row.y + row.h - 3);
}

function drawArrows() {
  const shown = run.arrows.filter((arrow) => arrow.task !== look.task && (arrow.came ?? arrow.sent) >= look.from && arrow.sent <= look.to);
  // Many become a haze, few are lines.
  pen.globalAlpha = clamp(120 / Math.max(shown.length, 1), 0.05, 0.6) * (look.task === null ? 1 : 0.6);
  pen.strokeStyle = ink.message;
  pen.beginPath();
  for (const arrow of shown) {
    const { x1, y1, x2, y2 } = line(arrow);
    pen.moveTo(x1, y1);
    pen.lineTo(x2, y2);
  }
  pen.stroke();
  pen.globalAlpha = 1;
}

function drawBars() {
  pen.globalAlpha = look.task === null ? 0.9 : 0.45;
  for (const bar of run.bars) {
    if (bar.task === look.task || bar.to < look.from || bar.from > look.to) continue;
    const { x: left, y, w, h } = box(bar);
    pen.fillStyle = ink[bar.class];
    pen.fillRect(left, y, w, h);
  }
  pen.globalAlpha = 1;
}

/** The highlighted task, over everything else. */
function drawTask() {
  if (look.task === null) return;
  const mine = own[look.task];
  mine.copies.forEach(drawCopy);
  pen.lineWidth = 1.6;
  for (const arrow of mine.arrows) drawArrow(arrow);
  pen.lineWidth = 1;
  for (const bar of mine.bars) {
    const { x: left, y, w, h } = box(bar);
    pen.fillStyle = ink[bar.class];
    pen.fillRect(left, y - 1, Math.max(w, 3), h + 2);
    pen.strokeStyle = ink.pick;
    pen.strokeRect(left - 0.5, y - 1.5, Math.max(w, 3) + 1, h + 3);
  }
}

/** A message at the broker: filled while it is somebody's, empty while it waits. */
function drawCopy(copy, index) {
  const row = rows[copy.host];
  const [left, right] = [x(copy.from), Math.max(x(copy.to ?? run.end), x(copy.from) + 2)];
  const y = row.y + 6 + (index % 2) * 17;
  pen.fillStyle = ink.paper;
  pen.globalAlpha = 0.85;
  pen.fillRect(left, y, right - left, 14);
  pen.globalAlpha = 0.45;
  pen.fillStyle = ink.pick;
  for (const [from, to] of copy.held) pen.fillRect(x(from), y, Math.max(x(to ?? run.end) - x(from), 1), 14);
  pen.globalAlpha = 1;
  pen.strokeStyle = ink.pick;
  pen.strokeRect(left + 0.5, y + 0.5, right - left - 1, 13);
  const start = Math.max(left, LEFT) + 5;
  pen.font = SMALL;
  pen.textAlign = 'left';
  pen.textBaseline = 'middle';
  if (right - start > pen.measureText(copy.queue).width + 4) {
    pen.fillStyle = ink.ink;
    pen.fillText(copy.queue, start, y + 7.5);
  }
}

function drawArrow(arrow) {
  const { x1, y1, x2, y2, lost } = line(arrow);
  pen.strokeStyle = pen.fillStyle = lost ? ink.bad : ink.pick;
  pen.setLineDash(lost ? [3, 3] : []);
  pen.beginPath();
  pen.moveTo(x1, y1);
  pen.lineTo(x2, y2);
  pen.stroke();
  pen.setLineDash([]);
  const turn = Math.atan2(y2 - y1, x2 - x1);
  pen.save();
  pen.translate(x2, y2);
  pen.rotate(turn);
  pen.beginPath();
  if (lost) {
    pen.moveTo(-4, -4);
    pen.lineTo(4, 4);
    pen.moveTo(-4, 4);
    pen.lineTo(4, -4);
    pen.stroke();
  } else {
    pen.moveTo(0, 0);
    pen.lineTo(-7, -3.2);
    pen.lineTo(-7, 3.2);
    pen.fill();
  }
  pen.restore();
}

/** Moments of the whole run: healed, settled, broken promises, and where the pointer is. */
function drawMoments() {
  pen.font = SMALL;
  pen.textBaseline = 'bottom';
  // Names that would stand on each other stand above each other.
  const named = [];
  const moment = (when, colour, text, dash) => {
    const px = Math.round(x(when)) + 0.5;
    pen.strokeStyle = pen.fillStyle = colour;
    pen.setLineDash(dash);
    pen.beginPath();
    pen.moveTo(px, AXIS);
    pen.lineTo(px, height);
    pen.stroke();
    pen.setLineDash([]);
    if (!text || px < LEFT || px > width()) return;
    const left = px + 90 > width();
    let level = 0;
    while (named.some((other) => other.level === level && Math.abs(other.px - px) < 110)) level += 1;
    named.push({ px, level });
    pen.textAlign = left ? 'right' : 'left';
    pen.fillText(text, px + (left ? -4 : 4), height - 3 - level * 13);
  };
  if (run.healed !== null) moment(run.healed, ink.ok, 'healed', [6, 4]);
  if (run.settled !== null) moment(run.settled, ink.soft, 'settled', [2, 3]);
  for (const broken of run.violations) {
    const faint = look.task !== null && broken.task !== look.task;
    pen.globalAlpha = faint ? 0.3 : 1;
    moment(broken.at, ink.bad, faint ? '' : broken.oracle, []);
    const px = x(broken.at);
    pen.beginPath();
    pen.moveTo(px, AXIS - 9);
    pen.lineTo(px + 6, AXIS - 2);
    pen.lineTo(px, AXIS + 5);
    pen.lineTo(px - 6, AXIS - 2);
    pen.fill();
    pen.globalAlpha = 1;
  }
  if (look.cursor !== null) moment(look.cursor, ink.pick, seconds(look.cursor), [1, 3]);
}

/** What is under the pointer, the nearest first; `null` if nothing is. */
function under(px, py) {
  if (px < LEFT) return null;
  const broken = run.violations.find((one) => Math.abs(x(one.at) - px) < 7 && py < AXIS + 6);
  if (broken) return { thing: broken, task: broken.task, text: `${broken.oracle}\n${broken.detail}` };
  for (const fault of run.faults) {
    const y = AXIS + fault.lane * LANE;
    if (py >= y && py < y + LANE && px >= x(fault.from) - 3 && px <= Math.max(x(fault.to), x(fault.from) + 8)) {
      const span = fault.instant ? `at ${seconds(fault.from)}` : `${seconds(fault.from)} to ${seconds(fault.to)}`;
      return { thing: fault, task: null, text: `#${fault.index} ${fault.text}\n${span}` };
    }
  }
  const bars = look.task === null ? run.bars : [...own[look.task].bars, ...run.bars];
  const bar = bars.find((one) => {
    const { x: left, y, w, h } = box(one);
    return px >= left - 2 && px <= left + w + 2 && py >= y - 1 && py <= y + h + 1;
  });
  if (bar) {
    const what = `${run.tasks[bar.task].id}, attempt ${bar.n} at ${run.hosts[bar.host].name}: ${bar.text}`;
    return { thing: bar, task: bar.task, text: `${what}\n${seconds(bar.from)}, ${((bar.to - bar.from) / 1e3).toFixed(1)} ms` };
  }
  return look.task === null ? null : ownMessage(px, py);
}

function ownMessage(px, py) {
  const near = own[look.task].arrows.find((arrow) => {
    const { x1, y1, x2, y2 } = line(arrow);
    const along = clamp(((px - x1) * (x2 - x1) + (py - y1) * (y2 - y1)) / Math.max((x2 - x1) ** 2 + (y2 - y1) ** 2, 1), 0, 1);
    return Math.hypot(px - x1 - along * (x2 - x1), py - y1 - along * (y2 - y1)) < 5;
  });
  if (!near) return null;
  const span = near.came === null ? 'never came' : `${((near.came - near.sent) / 1e3).toFixed(1)} ms`;
  return { thing: near, task: null, text: `${near.kind}: ${run.hosts[near.from].name} to ${run.hosts[near.to].name}\n${seconds(near.sent)}, ${span}` };
}

