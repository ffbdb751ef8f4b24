// The time painted into the picture, so that the whole way through camera, network, model and back can be measured on
// what is seen. Sixteen cells along the lower edge: white, black, ten bits of time, four bits of check.
//
// It survives a model that keeps the picture (passthrough, low noise); behind a strong style it cannot be read, and
// then `readStamp` says null instead of a wrong number.

const CELLS = 16;
const TICK_MS = 4;
const PERIOD = 1 << 10;
/** Below this difference between the white and the black cell the strip is not ours any more. */
const LEAST_CONTRAST = 70;

/** Paints the strip for time `now` (ms, any origin; the reader must use the same clock). */
export function paintStamp(context, width, height, now) {
  const time = Math.floor(now / TICK_MS) % PERIOD;
  const bits = (1 << 15) | (time << 4) | check(time);
  const cell = width / CELLS;
  const tall = stripHeight(width);
  for (let i = 0; i < CELLS; i += 1) {
    context.fillStyle = (bits >> (CELLS - 1 - i)) & 1 ? "#fff" : "#000";
    context.fillRect(Math.floor(i * cell), height - tall, Math.ceil(cell), tall);
  }
}

/** Reads the strip from a video: milliseconds between painting and `now`, or null when it cannot be read. */
export function readStamp(scratch, video, now) {
  const { videoWidth: width, videoHeight: height } = video;
  if (!width) return null;
  const tall = stripHeight(width);
  // Three samples a cell: the middle one is clear of its neighbours' blur.
  scratch.drawImage(video, 0, height - tall * 0.75, width, tall * 0.5, 0, 0, CELLS * 3, 1);
  const { data } = scratch.getImageData(0, 0, CELLS * 3, 1);
  const light = Array.from({ length: CELLS }, (_, i) => {
    const at = (i * 3 + 1) * 4;
    return (data[at] + data[at + 1] + data[at + 2]) / 3;
  });
  if (light[0] - light[1] < LEAST_CONTRAST) return null;
  const middle = (light[0] + light[1]) / 2;
  const bits = light.reduce((sum, value) => (sum << 1) | (value > middle ? 1 : 0), 0);
  const time = (bits >> 4) & (PERIOD - 1);
  if ((bits & 15) !== check(time)) return null;
  return ((Math.floor(now / TICK_MS) - time + PERIOD) % PERIOD) * TICK_MS;
}

/** A canvas that `readStamp` can work on. */
export function stampScratch() {
  const canvas = document.createElement("canvas");
  canvas.width = CELLS * 3;
  canvas.height = 1;
  return canvas.getContext("2d", { willReadFrequently: true });
}

const stripHeight = (width) => Math.max(12, Math.round(width / CELLS));
const check = (time) => ((time >> 8) * 7 + ((time >> 4) & 15) * 5 + (time & 15) * 3 + 9) & 15;
