// The test pattern: balloons over a lake. It moves everywhere, has soft and hard edges, stripes, gradients and
// saturated colours: every style has something to work on, every fault of the video path can be seen.

const HILLS = [
  { base: 0.08, height: 0.2, pace: 0.01, wave: 2.1, near: "#4c6a9c", far: "#6f8dbb" },
  { base: 0.22, height: 0.16, pace: 0.022, wave: 3.3, near: "#2f5d68", far: "#4c8284" },
  { base: 0.38, height: 0.11, pace: 0.045, wave: 4.6, near: "#1f4a3d", far: "#39705a" },
];

const BALLOONS = [
  { x: 0.52, y: -0.4, size: 0.11, pace: 0.23, sway: 0.16, colours: ["#f7f0dc", "#3c7fb1"] },
  { x: -0.62, y: -0.22, size: 0.17, pace: 0.31, sway: 0.12, colours: ["#f3c14b", "#7b3f8c"] },
  { x: 0.02, y: -0.1, size: 0.36, pace: 0.19, sway: 0.2, colours: ["#e4503e", "#f9e9c8"] },
];

const LAKE_TOP = 0.52;

/** Paints the scene at `seconds` on a canvas of any shape. */
export function paintPattern(context, width, height, seconds) {
  // Centre is (0, 0) and the shorter side spans −1…1, so the scene keeps its proportions at any size.
  const unit = Math.min(width, height) / 2;
  const halfWidth = width / 2 / unit;
  const halfHeight = height / 2 / unit;
  context.save();
  context.setTransform(unit, 0, 0, unit, width / 2, height / 2);
  paintSky(context, halfWidth, halfHeight, seconds);
  paintSun(context, seconds);
  for (const hill of HILLS) paintHill(context, hill, halfWidth, halfHeight, seconds);
  paintLake(context, halfWidth, halfHeight, seconds);
  for (const balloon of BALLOONS) paintBalloon(context, balloon, seconds);
  context.restore();
}

function paintSky(context, halfWidth, halfHeight, seconds) {
  const warmth = 0.5 + 0.5 * Math.sin(seconds * 0.21);
  const sky = context.createLinearGradient(0, -halfHeight, 0, 0.4);
  sky.addColorStop(0, `hsl(${214 + 14 * warmth} 62% ${40 + 8 * warmth}%)`);
  sky.addColorStop(0.6, `hsl(${24 + 12 * warmth} 82% ${66 + 6 * warmth}%)`);
  sky.addColorStop(1, "hsl(42 92% 80%)");
  context.fillStyle = sky;
  context.fillRect(-halfWidth, -halfHeight, 2 * halfWidth, 2 * halfHeight);
}

function paintSun(context, seconds) {
  const x = 0.62 * Math.sin(seconds * 0.16);
  const y = -0.12 - 0.1 * Math.cos(seconds * 0.16);
  const glow = context.createRadialGradient(x, y, 0.05, x, y, 0.62);
  glow.addColorStop(0, "rgb(255 250 225 / 0.95)");
  glow.addColorStop(0.25, "rgb(255 226 150 / 0.55)");
  glow.addColorStop(1, "rgb(255 200 120 / 0)");
  context.fillStyle = glow;
  context.fillRect(x - 0.7, y - 0.7, 1.4, 1.4);
  context.fillStyle = "#fff8dc";
  disc(context, x, y, 0.13);
}

function paintHill(context, { base, height, pace, wave, near, far }, halfWidth, halfHeight, seconds) {
  const slope = context.createLinearGradient(0, base - height, 0, base + 0.4);
  slope.addColorStop(0, far);
  slope.addColorStop(1, near);
  context.fillStyle = slope;
  context.beginPath();
  context.moveTo(-halfWidth, halfHeight);
  for (let x = -halfWidth; x <= halfWidth + 0.05; x += 0.05) {
    const along = x + seconds * pace * 4;
    const ridge = Math.sin(along * wave) * 0.6 + Math.sin(along * wave * 2.3 + 1) * 0.3;
    context.lineTo(x, base - height * ridge);
  }
  context.lineTo(halfWidth, halfHeight);
  context.fill();
}

function paintLake(context, halfWidth, halfHeight, seconds) {
  const water = context.createLinearGradient(0, LAKE_TOP, 0, halfHeight);
  water.addColorStop(0, "#e9b98c");
  water.addColorStop(0.35, "#5f8fa6");
  water.addColorStop(1, "#173a55");
  context.fillStyle = water;
  context.fillRect(-halfWidth, LAKE_TOP, 2 * halfWidth, halfHeight - LAKE_TOP + 0.01);
  context.fillStyle = "rgb(255 244 214 / 0.55)";
  for (let row = 0; row < 9; row += 1) {
    const y = LAKE_TOP + 0.03 + row * 0.05;
    const drift = Math.sin(seconds * (0.5 + row * 0.07) + row * 1.9);
    const length = 0.1 + 0.035 * row;
    context.fillRect(0.5 * drift - length / 2 + 0.25 * Math.sin(row * 5), y, length, 0.01 + row * 0.0012);
  }
}

function paintBalloon(context, { x, y, size, pace, sway, colours }, seconds) {
  context.save();
  context.translate(x + sway * Math.sin(seconds * pace * 1.7), y + 0.07 * Math.sin(seconds * pace * 2.9 + x));
  context.rotate(0.06 * Math.sin(seconds * pace * 2.3));
  context.scale(size, size);

  context.strokeStyle = "#3a2a20";
  context.lineWidth = 0.03;
  context.beginPath();
  for (const side of [-1, 1]) {
    context.moveTo(side * 0.52, 0.78);
    context.lineTo(side * 0.17, 1.42);
  }
  context.stroke();
  context.fillStyle = "#7a4a2b";
  context.fillRect(-0.2, 1.4, 0.4, 0.27);

  context.beginPath();
  context.moveTo(0.24, 1.12);
  context.bezierCurveTo(0.55, 0.72, 1.05, 0.45, 1.0, -0.1);
  context.bezierCurveTo(0.95, -0.78, 0.4, -1.02, 0, -1.02);
  context.bezierCurveTo(-0.4, -1.02, -0.95, -0.78, -1.0, -0.1);
  context.bezierCurveTo(-1.05, 0.45, -0.55, 0.72, -0.24, 1.12);
  context.closePath();
  context.clip();
  context.fillStyle = colours[0];
  context.fillRect(-1.2, -1.2, 2.4, 2.6);
  context.fillStyle = colours[1];
  const turn = (seconds * pace * 0.5) % 1;
  for (let gore = -6; gore < 4; gore += 2) paintGore(context, (gore + turn * 2) / 4, 0.25);
  const shade = context.createLinearGradient(-1, 0, 1, 0);
  shade.addColorStop(0, "rgb(20 10 40 / 0.42)");
  shade.addColorStop(0.42, "rgb(255 255 255 / 0.14)");
  shade.addColorStop(1, "rgb(20 10 40 / 0.34)");
  context.fillStyle = shade;
  context.fillRect(-1.2, -1.2, 2.4, 2.6);
  context.restore();
}

/** One stripe of the envelope, seen on a sphere: `from` in turns of the visible side, −1…1. */
function paintGore(context, from, span) {
  const edge = (turn) => Math.sin(Math.max(-1, Math.min(1, turn)) * (Math.PI / 2));
  const left = edge(from);
  const right = edge(from + span);
  context.beginPath();
  context.moveTo(0, -1.1);
  context.quadraticCurveTo(left * 1.15, -0.5, left, 0);
  context.quadraticCurveTo(left * 0.8, 0.7, left * 0.25, 1.2);
  context.lineTo(right * 0.25, 1.2);
  context.quadraticCurveTo(right * 0.8, 0.7, right, 0);
  context.quadraticCurveTo(right * 1.15, -0.5, 0, -1.1);
  context.fill();
}

function disc(context, x, y, radius) {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fill();
}
