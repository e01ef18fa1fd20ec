// What the figures share: they build themselves in a box, and ask a function of the page or the kernel of a notebook.

// On the page: build the figure at once, and decode when the browser has time or the figure will soon come into view.
function onPage(box, figure, answers) {
  const content = JSON.parse(box.querySelector("script").textContent);
  let answer = null;
  const ask = async request => {
    await new Promise(requestAnimationFrame);
    answer ??= answers(content, generator(content.generator));
    return answer(request);
  };
  box.hidden = false;
  const begin = figure(box, content, ask);
  let begun = false;
  const beginOnce = () => {
    seen.disconnect();
    if (!begun) begin();
    begun = true;
  };
  const seen = new IntersectionObserver(([entry]) => { if (entry.isIntersecting) beginOnce(); }, {rootMargin: "600px"});
  seen.observe(box);
  (self.requestIdleCallback ?? setTimeout)(beginOnce);
}

// In a notebook: the widget Asking, whose `answer` follows `asked`. One question after the other, since of several that
// are asked at once the kernel may see only the last.
function inNotebook(model, el, figure) {
  const box = document.createElement("div");
  let number = 0, last = Promise.resolve(), answered = () => {};
  box.className = "play";
  el.replaceChildren(box);
  model.on("change:answer", () => {
    if (model.get("answer").number == number) answered(model.get("answer"));
  });
  const send = request => new Promise(done => {
    number = (model.get("asked").number ?? 0) + 1;
    answered = done;
    model.set("asked", {...request, number});
    model.save_changes();
  });
  const ask = request => {
    last = last.then(() => send(request));
    return last;
  };
  figure(box, model.get("content"), ask)();
}

// A function that shows the answer to a request. While one is answered the latest waits, and others are forgotten.
function latest(ask, show) {
  let next = null, busy = false;
  return async request => {
    next = request;
    if (busy) return;
    busy = true;
    while (next) {
      const request = next;
      next = null;
      show(await ask(request), request);
    }
    busy = false;
  };
}

// A handle that pointer and arrow keys move in its parent: moved(x, y) gets its place, from 0 to 1, from the top left.
// It also jumps to where a mouse is pressed. Returns a function that puts it somewhere.
function draggable(handle, step, moved) {
  const field = handle.parentElement;
  const place = {x: 0.5, y: 0.5}, limited = share => Math.min(1, Math.max(0, share));
  const put = (x, y) => {
    [place.x, place.y] = [limited(x), limited(y)];
    [handle.style.left, handle.style.top] = [`${100 * place.x}%`, `${100 * place.y}%`];
  };
  const move = (x, y) => { put(x, y); moved(place.x, place.y); };
  const keys = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]};
  const follow = event => {
    const area = field.getBoundingClientRect();
    move((event.clientX - area.left) / area.width, (event.clientY - area.top) / area.height);
  };
  field.onpointerdown = event => {
    const onHandle = event.target == handle;
    if (!onHandle && event.pointerType != "mouse") return;  // a finger scrolls the page
    handle.setPointerCapture(event.pointerId);
    if (onHandle) return;
    event.preventDefault();  // else the press takes the focus away
    handle.focus({preventScroll: true});
    follow(event);
  };
  handle.onpointermove = event => { if (handle.hasPointerCapture(event.pointerId)) follow(event); };
  handle.onkeydown = event => {
    if (!keys[event.key]) return;
    const [x, y] = keys[event.key], {clientWidth, clientHeight} = field;
    const far = step * (event.shiftKey ? 5 : 1);  // the same on the screen in both directions
    event.preventDefault();
    move(place.x + far * x, place.y + far * y * clientWidth / clientHeight);
  };
  return put;
}

// Pixels in [−1, 1] as bytes; a picture with dark ink on a canvas from the one of the given number in bytes.
function asBytes(images) {
  const all = new Uint8Array(images.length * images[0].length);
  images.forEach((image, k) => all.set(image.map(pixel => Math.round(127.5 * (pixel + 1))), k * image.length));
  return all;
}

function paint(canvas, images, number, x = 0, y = 0) {
  const side = 28, picture = new ImageData(side, side), start = number * side * side;
  const all = images instanceof DataView ? new Uint8Array(images.buffer, images.byteOffset, images.byteLength) : images;
  for (let k = 0; k < side * side; k++) {
    picture.data.fill(255 - all[start + k], 4 * k, 4 * k + 3);
    picture.data[4 * k + 3] = 255;
  }
  canvas.getContext("2d").putImageData(picture, x * side, y * side);
}

// The code that lies at `place` in the plane or space of these directions from `origin`.
function codeAt(origin, directions, place) {
  return origin.map((value, k) => place.reduce((sum, share, row) => sum + share * directions[row][k], value));
}

// An array in rows of this length.
function rows(values, length) {
  return Array.from({length: values.length / length}, (_, row) => values.subarray(row * length, (row + 1) * length));
}
