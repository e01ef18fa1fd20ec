// What the page does beside its films: it marks the section in the contents, enlarges figures, lets keys scroll boxes.

// The section that is read is the last whose heading has passed the upper quarter of the window.
function markSections() {
  const links = new Map([...document.querySelectorAll("nav a")].map(link => [link.hash.slice(1), link]));
  const headings = [...document.querySelectorAll("main :is(h2, h3)")].filter(heading => links.has(heading.id));
  let marked = null;
  const mark = () => {
    const read = headings.findLast(heading => heading.getBoundingClientRect().top < innerHeight / 4 + 1);
    const link = read && links.get(read.id);
    if (link === marked) return;
    marked?.removeAttribute("aria-current");
    marked = link;
    if (!link) return;
    link.setAttribute("aria-current", "true");
    const folded = link.closest("nav details details");
    for (const other of document.querySelectorAll("nav details details")) other.open = other === folded;
    const list = document.querySelector("nav");
    if (getComputedStyle(list).position !== "sticky") return;
    const middle = link.offsetTop - list.clientHeight / 2;
    if (Math.abs(middle - list.scrollTop) > list.clientHeight / 3) list.scrollTop = middle;
  };
  const watch = new IntersectionObserver(mark, {rootMargin: "0px 0px -75% 0px"});
  headings.forEach(heading => watch.observe(heading));
  addEventListener("scrollend", mark);
}

// On small screens a chosen entry folds the contents, which would stand in front of the text.
function foldContents() {
  const contents = document.querySelector("nav > details"), small = matchMedia("(max-width: 68rem)");
  small.addEventListener("change", () => { contents.open = !small.matches; });
  contents.addEventListener("click", event => {
    if (small.matches && event.target.closest("a")) contents.open = false;
  });
}

// A button at each figure shows it as large as its pixels allow; the dialog scrolls, and Escape closes it.
function enlargeFigures() {
  const dialog = document.querySelector("dialog");
  const enlarge = image => {
    const copy = image.cloneNode();
    copy.style.width = `${Math.max(image.naturalWidth / 2, innerWidth)}px`;
    dialog.querySelector("img")?.remove();
    dialog.append(copy);
    dialog.showModal();
  };
  document.querySelectorAll("figure > img").forEach((image, place) => {
    const button = document.createElement("button"), name = image.parentElement.querySelector("figcaption b");
    button.className = "enlarge";
    button.type = "button";
    button.textContent = "⤢";
    button.setAttribute("aria-label", `Enlarge ${name ? name.textContent.replace(".", "") : "the picture"}`);
    image.after(button);
    for (const part of [button, image]) part.addEventListener("click", () => enlarge(image));
  });
  dialog.addEventListener("click", event => { if (event.target === dialog) dialog.close(); });
}

// A box that is wider than the screen can be reached by Tab and moved by the arrow keys.
function letKeysScroll() {
  const update = box => {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0; else box.removeAttribute("tabindex");
  };
  const watch = new ResizeObserver(entries => entries.forEach(entry => update(entry.target.closest(".wide, .scroll, pre"))));
  const boxes = [...document.querySelectorAll(".wide, .scroll, pre")];
  boxes.forEach(box => [box, ...box.children].forEach(part => watch.observe(part)));  // some are filled later
  document.fonts.ready.then(() => boxes.forEach(update));
}

markSections();
foldContents();
enlargeFigures();
letKeysScroll();
