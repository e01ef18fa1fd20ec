// "Bend the path": a plane of latent space, a path in it whose middle is dragged, and what it costs.

const KNOWN = ["straight line", "slerp", "minimiser"], YOURS = "your path";

// Places of the quadratic Bézier curve from (0, 0) to (1, 0) that passes `middle` at t = ½.
function bezier([x, y], points) {
  return Array.from({length: points}, (_, k) => {
    const t = k / (points - 1);
    return [2 * t * (1 - t) * (2 * x - 0.5) + t * t, 2 * t * (1 - t) * 2 * y];
  });
}

// The middle of each segment of a path; the distance of two points.
function midpoints(path) {
  return path.slice(1).map((point, k) => point.map((value, i) => (value + path[k][i]) / 2));
}

function distance(a, b) {
  return Math.sqrt(a.reduce((sum, value, k) => sum + (value - b[k]) ** 2, 0));
}

// The path with `count` points at equal shares of its length, as paths.constant_speed; `lengths` of its segments.
function constantSpeed(path, lengths, count) {
  const reached = [0];
  for (const length of lengths) reached.push(reached.at(-1) + length + 1e-12);
  let segment = 0;
  return Array.from({length: count}, (_, k) => {
    const wanted = reached.at(-1) * k / (count - 1);
    while (segment < lengths.length - 1 && reached[segment + 1] <= wanted) segment++;
    const share = Math.min(1, (wanted - reached[segment]) / (reached[segment + 1] - reached[segment]));
    return path[segment].map((value, i) => value + share * (path[segment + 1][i] - value));
  });
}

// A function of places: c over its lower bound, between the bytes of the ground.
function costOf(pair, {left, right, top, bottom}, columns) {
  const ground = bytes(pair.ground), lines = ground.length / columns;
  return ([x, y]) => {
    const column = Math.min(columns - 1.001, Math.max(0, (x - left) / (right - left) * (columns - 1)));
    const line = Math.min(lines - 1.001, Math.max(0, (top - y) / (top - bottom) * (lines - 1)));
    const start = Math.floor(line) * columns + Math.floor(column), a = column % 1, b = line % 1;
    const upper = (1 - a) * ground[start] + a * ground[start + 1];
    const lower = (1 - a) * ground[start + columns] + a * ground[start + columns + 1];
    return pair.low + ((1 - b) * upper + b * lower) / 255 * (pair.high - pair.low);
  };
}

// The places of a curve in the plane at constant speed in the metric c I; the ground saves decoding it for this.
function evenPlaces(middle, cost, points) {
  const curve = bezier(middle, 65);
  const lengths = midpoints(curve).map((place, k) => Math.sqrt(cost(place)) * distance(curve[k], curve[k + 1]));
  return constantSpeed(curve, lengths, points);
}

// On the page: the images of a path's midpoints and its measures, with U = ∫ c ‖Ż‖² dt as paths.path_energy has it.
function bendAnswers(content, decode) {
  const pairs = content.pairs.map(pair => unpacked(pair, content));
  const pathOf = ({pair, path, middle}, points) => {
    const {known, origin, plane, cost} = pairs[pair];
    if (!known[path]) return evenPlaces(middle, cost, points).map(place => codeAt(origin, plane, place));
    const stride = (known[path].length - 1) / (points - 1);
    return known[path].filter((_, k) => k % stride == 0);
  };
  return request => {
    const path = pathOf(request, content.points), images = midpoints(path).map(decode), pair = pairs[request.pair];
    if (!request.fine) return {images: asBytes(images), ...measures(path, images, pair)};
    const finer = pathOf(request, content.fine);
    return {images: asBytes(images), ...measures(finer, midpoints(finer).map(decode), pair)};
  };
}

function unpacked(pair, {frame, columns}) {
  const plane = rows(numbers(pair.plane), pair.size);
  const images = rows(Float64Array.from(bytes(pair.images), pixel => pixel / 127.5 - 1), 784);
  const path = packed => rows(numbers(packed), pair.size).map(code => Array.from(code));
  const known = Object.fromEntries(Object.entries(pair.known).map(([name, packed]) => [name, path(packed)]));
  return {
    origin: Array.from(numbers(pair.origin)), plane, known, images, cost: costOf(pair, frame, columns),
    straight: Math.hypot(...plane[0]), bound: distance(...images) ** 2 / 2
  };
}

function measures(path, images, {images: [a, b], straight, bound}) {
  const costs = images.map(image => (distance(image, a) ** 2 + distance(image, b) ** 2) / bound);
  const steps = costs.map((_, k) => distance(path[k], path[k + 1]) / straight), sum = (all, value) => all + value;
  const rho = costs.length * costs.map((cost, k) => cost * steps[k] ** 2).reduce(sum), length = steps.reduce(sum);
  const energy = rho * bound * straight ** 2;
  return {energy, rho, length, mean: rho / length ** 2, largest: Math.max(...costs)};
}

// Shades of grey and lines of equal cost; what is dark on white paper costs much.
function drawGround(canvas, cost, {left, right, top, bottom}, {low, high}) {
  const {width, height} = canvas, picture = new ImageData(width, height), bands = 12;
  const band = (column, row) => {
    const place = [left + (right - left) * column / width, top - (top - bottom) * row / height];
    return Math.floor(bands * (cost(place) - low) / (high - low + 1e-9));
  };
  for (let row = 0, above = []; row < height; row++) {
    const here = Array.from({length: width}, (_, column) => band(column, row));
    for (let column = 0; column < width; column++) {
      const edge = row && here[column] != above[column] || column && here[column] != here[column - 1];
      picture.data[4 * (row * width + column) + 3] = edge ? 150 : 120 * here[column] / bands;
    }
    above = here;
  }
  canvas.getContext("2d").putImageData(picture, 0, 0);
}

// What the box holds; places of the plane are the coordinates of its SVG, upside down.
function bendParts({pairs, points, frame: {left, right, top, bottom}}) {
  const options = pairs.map(({name}, k) => `<option value="${k}">${name}</option>`).join("");
  const lines = [...KNOWN, YOURS].map(name => `<polyline data-path="${name}"></polyline>`).join("");
  const heads = ["path", "U", "ρ", "length", "mean c", "largest c"].map(name => `<th scope="col">${name}</th>`).join("");
  const table = [YOURS, ...KNOWN].map(name => `<tr data-path="${name}"><th scope="row"><button type="button"
    aria-pressed="false"><i></i>${name}</button></th>${"<td></td>".repeat(5)}</tr>`).join("");
  return `<div class="bar"><label>test digits <select data-lm-suppress-shortcuts="true">${options}</select></label>
      <span>Drag the ring to bend your path.</span>
      <span class="scale">cost c: low, <span></span><i></i><span></span>, high</span></div>
    <div class="field"><canvas width="480" height="240" aria-hidden="true"></canvas>
      <svg viewBox="${left} ${-top} ${right - left} ${top - bottom}" aria-hidden="true">${lines}</svg>
      <b style="left: ${100 * -left / (right - left)}%">z<sub>A</sub></b>
      <b style="left: ${100 * (1 - left) / (right - left)}%">z<sub>B</sub></b>
      <div class="handle" tabindex="0" role="slider" aria-label="middle of your path; arrow keys move it"
        aria-valuemin="0" aria-valuemax="1" data-lm-suppress-shortcuts="true"></div></div>
    <div class="images" role="img">${'<canvas width="28" height="28"></canvas>'.repeat(points + 1)}</div>
    <output aria-live="off"></output><span class="said" role="status"></span>
    <div class="wide"><table><thead><tr>${heads}</tr></thead><tbody>${table}</tbody></table></div>`;
}

// A ratio in words: how much more, or less, in percent.
function compared(ratio, word, more, less) {
  const percent = Math.round(100 * (ratio - 1));
  return percent ? `${Math.abs(percent)}% ${percent > 0 ? more : less}` : `as ${word}`;
}

// What the read-out says of your path beside the known ones.
function verdict(yours, line, least) {
  const gain = line.rho - yours.rho, same = Math.abs(gain) < 0.005, rho = ({rho}) => rho.toFixed(2);
  const numbers = `ρ ${rho(yours)}; straight line ${rho(line)}, minimiser (outside the plane) ${rho(least)}.`;
  if (same && yours.length < 1.005) return `Your path is nearly the straight line: ${numbers}`;
  const judged = same ? "costs as much as" : gain > 0 ? "is cheaper than" : "costs more than";
  const long = compared(yours.length ** 2, "large", "larger", "smaller");
  const costly = compared(yours.mean / line.mean, "high", "higher", "lower");
  const mark = !same && gain > 0 ? "✓ " : "", together = compared(yours.rho / line.rho, "much", "more", "less");
  return `${mark}Your path ${judged} the straight line: ${numbers} Its squared length is ${long} and the mean cost on it ` +
    `${costly}: together ${together}.`;
}

class BendView {
  constructor(box, content, ask) {
    box.insertAdjacentHTML("beforeend", bendParts(content));
    Object.assign(this, {box, content, ask, number: 0, path: YOURS, middle: [0.5, 0], found: {}, resting: 0});
    this.canvases = [...box.querySelectorAll(".images canvas")];
    this.handle = box.querySelector(".handle");
    this.put = draggable(this.handle, 1 / 120, (x, y) => this.bend(this.placeAt(x, y)));
    this.request = latest(ask, (answer, request) => this.show(answer, request));
    for (const row of box.querySelectorAll("tr[data-path]")) {
      row.querySelector("button").onclick = () => {
        this.select(row.dataset.path);
        if (row.dataset.path == YOURS) this.handle.focus();
      };
    }
    const menu = box.querySelector("select");
    menu.onchange = () => this.choose(+menu.value);
  }

  // A place of the plane from shares of the field, and the reverse. The middle stays between both ends.
  placeAt(x, y) {
    const {left, right, top, bottom} = this.content.frame;
    return [Math.min(1, Math.max(0, left + (right - left) * x)), top - (top - bottom) * y];
  }

  putHandle() {
    const {left, right, top, bottom} = this.content.frame, [x, y] = this.middle;
    this.put((x - left) / (right - left), (top - y) / (top - bottom));
    this.handle.setAttribute("aria-valuenow", x.toFixed(2));
    this.handle.setAttribute("aria-valuetext", `${x.toFixed(2)} along, ${y.toFixed(2)} aside`.replace("-", "−"));
  }

  // Show another pair, with your path straight at first.
  async choose(number) {
    const chosen = this.content.pairs[number];
    Object.assign(this, {number, found: {}, pair: unpacked(chosen, this.content)});
    drawGround(this.box.querySelector(".field canvas"), this.pair.cost, this.content.frame, chosen);
    const [low, high] = this.box.querySelectorAll(".scale span");
    [low.textContent, high.textContent] = [chosen.low.toFixed(1), chosen.high.toFixed(1)];
    for (const name of KNOWN) this.draw(name, this.onto(this.pair.known[name] ?? bezier([0.5, 0], 2)));
    const images = bytes(chosen.images);
    paint(this.canvases[0], images, 0);
    paint(this.canvases.at(-1), images, 1);
    this.select(YOURS);
    this.bend([0.5, 0]);
    for (const path of KNOWN) {
      const request = {pair: number, path, middle: [0.5, 0], fine: true};
      this.show(await this.ask(request), request);
    }
  }

  // The places of codes in the plane, or of their projections onto it, and how far the codes are from it at most.
  onto(path) {
    const {origin, plane, straight} = this.pair;
    if (path[0].length == 2) return path;
    const share = (code, axis) => axis.reduce((sum, value, k) => sum + value * (code[k] - origin[k]), 0) / straight ** 2;
    return path.map(code => [...plane].map(axis => share(code, axis)));
  }

  away(path) {
    const {origin, plane} = this.pair, places = this.onto(path);
    return Math.max(...path.map((code, k) => distance(code, codeAt(origin, plane, places[k]))));
  }

  draw(name, places) {
    const points = places.map(([x, y]) => `${x.toFixed(4)},${(-y).toFixed(4)}`).join(" ");
    this.box.querySelector(`polyline[data-path="${name}"]`).setAttribute("points", points);
  }

  // Your path through another middle; when it rests its numbers become more precise.
  bend(middle) {
    clearTimeout(this.resting);
    this.middle = middle;
    this.putHandle();
    this.draw(YOURS, bezier(middle, 65));
    if (this.path != YOURS) this.select(YOURS);
    this.request({pair: this.number, path: YOURS, middle, fine: false});
  }

  show(answer, request) {
    if (answer.failure) this.say(answer.failure);
    if (answer.failure || request.pair != this.number) return;
    this.found[request.path] = answer;
    const cells = this.box.querySelectorAll(`tr[data-path="${request.path}"] td`);
    const {energy, rho, length, mean, largest} = answer;
    const texts = [Math.round(energy).toLocaleString("en-GB"), ...[rho, length, mean, largest].map(n => n.toFixed(2))];
    cells.forEach((cell, k) => { cell.textContent = texts[k]; });
    if (request.path == this.path) this.paintImages();
    this.say(this.words());
    if (request.fine) this.box.querySelector(".said").textContent = this.words();
    else this.resting = setTimeout(() => this.request({...request, fine: true}), 150);
  }

  // Show a known path, or yours.
  select(path) {
    this.path = path;
    for (const part of this.box.querySelectorAll("[data-path]")) part.classList.toggle("shown", part.dataset.path == path);
    for (const button of this.box.querySelectorAll("tr button")) {
      button.setAttribute("aria-pressed", button.closest("tr").dataset.path == path);
    }
    this.paintImages();
    this.say(this.words());
  }

  paintImages() {
    const name = this.content.pairs[this.number].name, answer = this.found[this.path];
    this.box.querySelector(".images").setAttribute("aria-label", `images along ${this.path}, from ${name}`);
    if (answer) this.canvases.slice(1, -1).forEach((canvas, k) => paint(canvas, answer.images, k));
  }

  words() {
    const {[YOURS]: yours, "straight line": line, minimiser} = this.found, known = this.pair.known[this.path];
    if (known) {
      return `${this.path[0].toUpperCase()}${this.path.slice(1)} leaves the plane by up to ${this.away(known).toFixed(1)}: its curve is a projection, but its ` +
        "images and numbers are its own.";
    }
    if (this.path != YOURS) return "The straight line is the shortest path.";
    return yours && line && minimiser ? verdict(yours, line, minimiser) : "";
  }

  say(text) {
    this.box.querySelector("output").value = text;
  }
}

// Build the figure in a box; returns the function that begins.
function bend(box, content, ask) {
  const view = new BendView(box, content, ask);
  return () => view.choose(0);
}
