// Probabilities over time, as lines on a canvas.

const MARGIN = { left: 40, right: 8, top: 8, bottom: 22 };

/** A colour for each class, far from those of its neighbours. */
export function colour(index) {
  return `hsl(${(index * 137.5) % 360} 65% 55%)`;
}

/**
 * Draw all classes that were ever likely, each with its name where it was likeliest.
 *
 * @param {HTMLCanvasElement} canvas Drawn at the size that it has on screen.
 * @param {{time: number, probabilities: Float32Array}[]} history
 * @param {string[]} labels Of the classes.
 * @param {number} duration Of the video, seconds.
 */
export function drawChart(canvas, history, labels, duration) {
  const scale = window.devicePixelRatio || 1;
  const { clientWidth: width, clientHeight: height } = canvas;
  canvas.width = width * scale;
  canvas.height = height * scale;
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  const x = (time) => MARGIN.left + (time / duration) * (width - MARGIN.left - MARGIN.right);
  const y = (share) => height - MARGIN.bottom - share * (height - MARGIN.top - MARGIN.bottom);
  drawAxes(context, x, y, duration);
  labels.forEach((label, index) => {
    const line = history.map(({ time, probabilities }) => [time, probabilities[index]]);
    const peak = line.reduce((best, point) => (point[1] > best[1] ? point : best), [0, 0]);
    if (peak[1] < 0.1) return;
    context.strokeStyle = context.fillStyle = colour(index);
    context.lineWidth = 2;
    context.beginPath();
    for (const [time, share] of line) context.lineTo(x(time), y(share));
    context.stroke();
    context.textAlign = peak[0] > duration / 2 ? "right" : "left";
    context.textBaseline = peak[1] > 0.9 ? "top" : "bottom";
    context.fillText(label, x(peak[0]), y(peak[1]) + (peak[1] > 0.9 ? 4 : -4));
  });
}

function drawAxes(context, x, y, duration) {
  context.fillStyle = "grey";
  context.strokeStyle = "rgb(128 128 128 / 30%)";
  context.font = "12px system-ui, sans-serif";
  context.textAlign = "right";
  context.textBaseline = "middle";
  for (const share of [0, 0.5, 1]) {
    context.beginPath();
    context.moveTo(x(0), y(share));
    context.lineTo(x(duration), y(share));
    context.stroke();
    context.fillText(`${100 * share} %`, x(0) - 4, y(share));
  }
  context.textAlign = "center";
  context.textBaseline = "top";
  const gap = [0.5, 1, 2, 5, 10, 30, 60, 300, 600].find((n) => duration / n <= 10) ?? 3600;
  for (let time = 0; time < duration; time += gap) context.fillText(`${time}`, x(time), y(0) + 6);
}
