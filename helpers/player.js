// A film is HTML that `player.film_html` writes. This makes its slider and its play button move it, here in the browser.
function play(film) {
  const [slider, button, name] = ["input", "button", "output"].map(tag => film.querySelector(tag));
  const names = JSON.parse(film.dataset.names);
  const points = [...film.querySelectorAll(".point")].map(point => [point, JSON.parse(point.dataset.places)]);
  const show = () => {
    const frame = +slider.value, share = 100 * frame / Math.max(1, slider.max);
    for (const sheet of film.querySelectorAll(".sheet")) sheet.style.objectPosition = `0 ${share}%`;
    for (const [point, places] of points) {
      point.hidden = !places[frame];
      if (places[frame]) [point.style.left, point.style.top] = places[frame].map(percent => `${percent}%`);
    }
    name.value = names[frame];
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
  show();
}

// What a notebook adds: controls above the films, whose values the kernel answers with other films.
function render({model, el}) {
  el.innerHTML = '<form class="controls"></form><div class="films"></div>';
  const [form, films] = el.children;
  const sliders = () => [...films.querySelectorAll(".film input")];
  const fill = () => {
    for (const [name, value] of Object.entries(model.get("values")))
      for (const input of form.querySelectorAll(`[name="${name}"]`))
        if (input.type == "radio") input.checked = input.value == value; else input.value = value;
  };
  const draw = () => { form.innerHTML = model.get("controls"); fill(); };
  let latest = 0;
  const project = async () => {
    const turn = ++latest, next = document.createElement("div");
    next.innerHTML = model.get("shown");
    await Promise.all([...next.querySelectorAll("img")].map(image => image.decode()));
    if (turn != latest) return;
    const places = sliders().map(slider => slider.value);
    films.replaceChildren(...next.childNodes);
    sliders().forEach((slider, k) => slider.value = places[k] ?? 0);
    films.querySelectorAll(".film").forEach(play);
  };
  form.oninput = ({target}) => {  // another choice: its sliders begin at 0
    if (target.type == "radio") for (const slider of form.querySelectorAll("[type=range]")) slider.value = 0;
    model.set("values", Object.fromEntries([...new FormData(form)].map(([name, value]) => [name, +value])));
    model.save_changes();
  };
  form.onclick = ({target}) => { if (target.type == "button") model.send(target.name); };
  form.onsubmit = event => event.preventDefault();
  model.on("change:controls", draw);
  model.on("change:values", fill);
  model.on("change:shown", project);
  draw();
  project();
}
