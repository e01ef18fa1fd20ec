// A film's pictures are HTML from strips.Film.html: this shows the frame with the given number.
function show(frames, frame) {
  const texts = JSON.parse(frames.dataset.texts), number = Math.min(frame, texts.length - 1);
  for (const sheet of frames.querySelectorAll("[data-step]")) sheet.style.marginTop = `${-number * sheet.dataset.step}%`;
  for (const point of frames.querySelectorAll(".point")) {
    const place = JSON.parse(point.dataset.places)[number];
    point.hidden = !place;
    if (place) [point.style.left, point.style.top] = place.map(percent => `${percent}%`);
  }
  (frames.closest(".film") ?? frames).querySelector("output").value = texts[number];
}

const PAUSE = 1000;  // milliseconds for which a film that plays stays at its ends

// On the report's page, and without a kernel: the slider and the play button are HTML.
function play(film) {
  const frames = film.querySelector(".frames"), slider = film.querySelector("input");
  const button = film.querySelector("button"), text = frames.querySelector("output");
  let timer = 0, seen = false;  // whether the film was moved or played
  const bar = film.querySelector(".bar");
  if (!bar.hidden) bar.append(text);  // it stays in sight
  const draw = () => { show(frames, slider.value); slider.setAttribute("aria-valuetext", text.value); };
  const wait = () => {
    const end = slider.value === slider.min || slider.value === slider.max;
    timer = setTimeout(step, +film.dataset.interval + (end ? PAUSE : 0));
  };
  const step = () => {
    if (!film.isConnected) return stop();
    slider.value = (+slider.value + 1) % (+slider.max + 1);
    draw();
    wait();
  };
  const stop = () => {
    clearTimeout(timer);
    timer = 0;
    button.textContent = "▶";
    text.setAttribute("aria-live", "polite");
  };
  const toggle = () => {
    if (timer) return stop();
    text.setAttribute("aria-live", "off");  // a screen reader would read every frame
    button.textContent = "❚❚";
    if (!seen) slider.value = slider.max;  // the first time, it begins with the first frame
    seen = true;
    step();
  };
  button.onclick = toggle;
  slider.oninput = () => { seen = true; stop(); draw(); };
  slider.onkeydown = event => {
    if (event.key !== " ") return;
    event.preventDefault();  // else the page scrolls
    toggle();
  };
  // JupyterLab has other uses for the arrow keys, unless the element in focus asks it not to; so do the widgets' menus
  film.closest(".jp-OutputArea")?.addEventListener("focusin", event => {
    event.target.setAttribute("data-lm-suppress-shortcuts", "true");
  });
  draw();
}

// In a notebook: the widget Strips, whose frame follows a slider of ipywidgets.
function render({model, el}) {
  const move = () => { if (el.firstElementChild) show(el.firstElementChild, model.get("frame")); };
  const draw = async () => {  // decoded first, so that nothing flickers
    const html = model.get("html"), next = document.createElement("div");
    next.innerHTML = html;
    await Promise.all([...next.querySelectorAll("img")].map(image => image.decode()));
    if (html != model.get("html")) return;
    el.replaceChildren(...next.childNodes);
    move();
  };
  model.on("change:html", draw);
  model.on("change:frame", move);
  draw();
}
