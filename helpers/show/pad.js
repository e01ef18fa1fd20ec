// The pad: two latent directions around a sample. play.js builds it, decoder.js or the kernel decodes.

// On the page: the images at places around a sample.
function padAnswers(content, decode) {
  const samples = rows(numbers(content.samples), content.size);
  const directions = rows(numbers(content.directions), content.size);
  return ({sample, places}) => {
    const two = directions.slice(2 * sample, 2 * sample + 2);
    return {images: asBytes(places.map(place => decode(codeAt(samples[sample], two, place))))};
  };
}

// Build the pad in a box; returns the function that begins.
function pad(box, content, ask) {
  const {limit, map: across, count} = content, spot = {sample: 0, x: 0, y: 0, mapped: -1};
  box.insertAdjacentHTML("beforeend", `<div class="pad">
    <div class="field"><canvas width="${28 * across}" height="${28 * across}" aria-hidden="true"></canvas>
    <div class="handle" tabindex="0" role="slider" data-lm-suppress-shortcuts="true" aria-label="place on the pad; arrow keys
      move it" aria-valuemin="${-limit}" aria-valuemax="${limit}"></div></div>
    <canvas class="sample" width="28" height="28" role="img" aria-label="the sample decoded there"></canvas></div>
    <div class="bar"><button type="button">new sample</button><output aria-live="off"></output></div>`);
  const [field, large] = box.querySelectorAll("canvas"), handle = box.querySelector(".handle");
  const output = box.querySelector("output");
  const grid = [...Array(across).keys()].map(k => limit * ((2 * k + 1) / across - 1));  // the middles of its pictures
  const all = grid.flatMap(down => grid.map(right => [right, -down]));

  const show = ({images, failure}, {sample, places}) => {
    if (failure) output.value = failure;
    if (failure || sample != spot.sample) return;
    paint(large, images, 0);
    if (places.length > 1) {
      all.forEach((_, k) => paint(field, images, k + 1, k % across, Math.floor(k / across)));
      spot.mapped = sample;
    }
    if (spot.mapped != sample) request({sample, places: [[spot.x, spot.y], ...all]});  // the pad's pictures come second
  };
  const request = latest(ask, show);
  const draw = () => {
    const {sample, x, y} = spot;
    const words = `${x.toFixed(1)} in the first direction, ${y.toFixed(1)} in the second`.replaceAll("-", "−");
    output.value = `sample ${sample + 1} of ${count}: ${words}`;
    handle.setAttribute("aria-valuenow", x.toFixed(2));
    handle.setAttribute("aria-valuetext", words);
    request({sample, places: [[x, y]]});
  };
  const put = draggable(handle, 1 / 40, (x, y) => {
    [spot.x, spot.y] = [limit * (2 * x - 1), limit * (1 - 2 * y)];
    draw();
  });
  box.querySelector("button").onclick = () => {
    Object.assign(spot, {sample: (spot.sample + 1) % count, x: 0, y: 0});
    put(0.5, 0.5);
    draw();
  };
  put(0.5, 0.5);
  return draw;
}
