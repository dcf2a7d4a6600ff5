// One cursor over all maps of a recording. Without this script the page loses nothing else.
for (const section of document.querySelectorAll("section.passage")) {
  const steps = Number(section.dataset.steps);
  const slider = section.querySelector("input");
  section.style.setProperty("--steps", steps);
  const show = (step) => {
    section.classList.add("live");
    section.style.setProperty("--step", step);
    slider.value = step + 1;
    section.querySelector(".step").textContent = step + 1;
    section.querySelectorAll(".symbol").forEach((one, at) => one.classList.toggle("now", at === step));
    for (const map of section.querySelectorAll(".map")) {
      map.querySelector("output").textContent = map.dataset.means.split(" ")[step].replace("-", "−");
    }
  };
  slider.addEventListener("input", () => show(slider.value - 1));
  for (const cells of section.querySelectorAll(".cells")) {
    cells.addEventListener("pointermove", (event) => {
      const box = cells.getBoundingClientRect();
      const at = Math.floor(((event.clientX - box.left) / box.width) * steps);
      show(Math.min(Math.max(at, 0), steps - 1));
    });
  }
  // What is pointed at lights up in the diagram, where every figure carries its value's name.
  const diagram = section.querySelector(".diagram");
  for (const map of section.querySelectorAll(".map[data-name]")) {
    const same = [...diagram.querySelectorAll("[data-name]")].filter((figure) =>
      (figure.dataset.names ?? figure.dataset.name).split(" ").includes(map.dataset.name) &&
      figure.dataset.when !== "before");
    if (!same.length) continue;
    map.addEventListener("pointerenter", () => {
      diagram.classList.add("pointed");
      same.forEach((figure) => figure.classList.add("lit"));
    });
    map.addEventListener("pointerleave", () => {
      diagram.classList.remove("pointed");
      same.forEach((figure) => figure.classList.remove("lit"));
    });
  }
}
