// Offer this page in the other versions of the site. A copy of one version alone has no list.
if (typeof gatewrightVersions !== "undefined") {
  const label = document.querySelector(".versions");
  const select = label.querySelector("select");
  const { version: current, page, site } = select.dataset;
  for (const { version, date } of gatewrightVersions) {
    select.add(new Option(`${version} (${date})`, version, false, version === current));
  }
  select.addEventListener("change", () => {
    const { version, pages } = gatewrightVersions.find((entry) => entry.version === select.value);
    location.href = `${site}${version}/${pages.includes(page) ? page : "index.html"}`;
  });
  // A browser that goes back to this page would show what was chosen on it.
  addEventListener("pageshow", () => { select.value = current; });
  label.hidden = false;
}
