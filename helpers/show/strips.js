// A film is HTML from strips.film_html: this lets its slider and its play button move it, in the browser alone.
function play(film) {
  const [slider, button, name] = ["input", "button", "output"].map(tag => film.querySelector(tag));
  const names = JSON.parse(film.dataset.names), sheets = film.querySelectorAll(".sheet");
  const points = [...film.querySelectorAll(".point")].map(point => [point, JSON.parse(point.dataset.places)]);
  const show = () => {
    for (const sheet of sheets) sheet.style.objectPosition = `0 ${100 * slider.value / Math.max(1, slider.max)}%`;
    for (const [point, places] of points) {
      const place = places[slider.value];
      point.hidden = !place;
      if (place) [point.style.left, point.style.top] = place.map(percent => `${percent}%`);
    }
    name.value = names[slider.value];
    slider.setAttribute("aria-valuetext", name.value);
  };
  let timer = 0;
  const stop = () => { clearInterval(timer); timer = 0; button.textContent = "▶"; };
  const step = () => {
    if (!film.isConnected) return stop();
    slider.value = (+slider.value + 1) % (+slider.max + 1);
    show();
  };
  button.onclick = () => { if (timer) return stop(); timer = setInterval(step, 90); button.textContent = "❚❚"; };
  slider.oninput = () => { stop(); show(); };
  film.onkeydown = event => event.stopPropagation();  // JupyterLab has other uses for the arrow keys
  show();
}

// A notebook's widget: a form whose values the kernel answers with films.
function render({model, el}) {
  el.innerHTML = '<div class="explorer"><form class="controls"></form><div class="films"></div></div>';
  const [form, films] = el.firstChild.children, sliders = () => [...films.querySelectorAll(".film input")];
  const fill = () => {
    for (const input of form.querySelectorAll("input")) {
      const value = model.get("values")[input.name];
      if (input.type == "radio") input.checked = input.value == value; else input.value = value;
    }
  };
  const draw = () => { form.innerHTML = model.get("controls"); fill(); };
  let latest = 0;
  const project = async () => {  // decoded first, so that nothing flickers
    const turn = ++latest, next = document.createElement("div");
    next.innerHTML = model.get("films");
    await Promise.all([...next.querySelectorAll("img")].map(image => image.decode()));
    if (turn != latest) return;
    const places = sliders().map(slider => slider.value);
    films.replaceChildren(...next.childNodes);
    sliders().forEach((slider, k) => { slider.value = places[k] ?? 0; });
    films.querySelectorAll(".film").forEach(play);
  };
  form.oninput = ({target}) => {
    if (target.type == "radio") for (const slider of form.querySelectorAll("[type=range]")) slider.value = 0;
    films.ariaBusy = true;
    model.set("values", Object.fromEntries([...new FormData(form)].map(([name, value]) => [name, +value])));
    model.save_changes();
  };
  form.onclick = ({target}) => { if (target.type == "button") { films.ariaBusy = true; model.send("press"); } };
  form.onkeydown = event => event.stopPropagation();
  form.onsubmit = event => event.preventDefault();
  model.on("msg:custom", () => { films.ariaBusy = false; });
  model.on("change:controls", draw);
  model.on("change:values", fill);
  model.on("change:films", project);
  draw();
  project();
}
